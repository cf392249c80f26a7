/** The name of the model that lies beside the page. */
export const EMBEDDED = 'llava-scenes';

/** Pictures that lie beside the page, and something to ask of each. */
export const SAMPLES: readonly { file: string; question: string }[] = [
  { file: '01.png', question: 'Describe the image in detail.' },
  { file: '02.png', question: 'Describe the image in detail.' },
  { file: '03.png', question: 'Describe the image in detail.' },
  { file: '04.png', question: 'Describe the image in detail.' },
  { file: '05.png', question: 'Describe the image in detail.' },
  { file: '06.png', question: 'Describe the image in detail.' },
];
