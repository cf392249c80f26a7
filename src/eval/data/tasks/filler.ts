import type { Random } from '../../../random.js';

const WHO = [
  'The gardener',
  'An old sailor',
  'The baker',
  'A young teacher',
  'The mayor',
  'A quiet neighbour',
  'The postman',
  'A group of children',
  'The carpenter',
  'A traveller from the north',
  'The miller',
  'A painter',
  'The doctor',
  'A fisherman',
  'The clockmaker',
  'A student of music',
  'The shepherd',
  'A widow',
  'The innkeeper',
  'A bookseller',
];
const DID = [
  'walked along the river',
  'repaired a wooden fence',
  'told a long story',
  'waited for the evening train',
  'planted apple trees',
  'looked for a lost umbrella',
  'wrote a letter to a friend',
  'counted the boats in the harbour',
  'carried a heavy basket uphill',
  'listened to the church bells',
  'painted the shutters of the house',
  'sat on the bench by the well',
  'talked about the price of bread',
  'fed the pigeons in the square',
  'read the newspaper twice',
  'swept the steps of the library',
  'mended a fishing net',
  'asked the way to the market',
  'closed the windows before the storm',
  'shared a loaf of bread with a stranger',
];
const WHEN = [
  'early in the morning',
  'before the rain came',
  'on the last day of autumn',
  'when the snow had melted',
  'after a long winter',
  'while the shops were closed',
  'at the end of the week',
  'as the sun went down',
  'during the summer fair',
  'shortly after midnight',
  'on a cold and windy afternoon',
  'when nobody was looking',
];
const AND = [
  'and nobody thought much of it',
  'and then went home without a word',
  'because there was little else to do',
  'which was talked about for days',
  'although the weather was poor',
  'and came back in better spirits',
  'as had been the custom for many years',
  'while a dog barked somewhere in the distance',
  'and the afternoon passed slowly',
  'so that supper was late that day',
  'and hardly anything else happened',
  'but the village remained as it was',
];

/** What a text is introduced by: nothing of what is asked. */
export const READ = 'Read the following text.';

/** Sentences of nothing in particular, at least `words` words of them; nothing in them is a number or a name. */
export function filler(random: Random, words: number): string[] {
  const sentences: string[] = [];
  for (let count = 0; count < words; ) {
    const [who, did, when, and] = [random.pick(WHO), random.pick(DID), random.pick(WHEN), random.pick(AND)];
    const sentence = random.chance(0.5)
      ? `${who} ${did} ${when}, ${and}.`
      : `${when.charAt(0).toUpperCase()}${when.slice(1)}, ${who.charAt(0).toLowerCase()}${who.slice(1)} ${did}, ${and}.`;
    sentences.push(sentence);
    count += sentence.split(' ').length;
  }
  return sentences;
}

/**
 * Sentences with others put between them, at places of chance, one place each.
 * @param depth the place of the first of these, in hundredths of the text
 */
export function hidden(
  random: Random,
  sentences: readonly string[],
  facts: readonly string[],
  depth?: number,
): string {
  const places = random.shuffle(sentences.map((_, place) => place));
  if (depth !== undefined) {
    const wanted = Math.round((depth / 100) * (sentences.length - 1));
    const at = places.indexOf(wanted);
    [places[0], places[at]] = [wanted, places[0]!];
  }
  const put = new Map(facts.map((fact, index) => [places[index]!, fact]));
  return sentences.flatMap((sentence, place) => [sentence, put.get(place) ?? []].flat()).join(' ');
}
