import { element, showError, ui } from './elements.js';
import { SAMPLES } from './embedded.js';
import type { Kept } from './messages.js';
import { drawPicture, keptShare } from './overlay.js';

/** A picture, and what is kept of it once the model has seen it. */
export interface Picture {
  readonly bitmap: ImageBitmap;
  readonly blob: Blob;
  readonly name: string;
  kept?: Kept;
}

/** The pictures of a conversation, and the one that is chosen for its next question. */
export class Pictures {
  /** Not asked about yet. */
  private chosen: Picture | undefined;
  private asked: Picture[] = [];
  private shown: Picture | undefined;

  /** @param changed called when another is chosen */
  constructor(private readonly changed: () => void) {
    for (const { file, question } of SAMPLES) this.addSample(file, question);
    for (const id of ['file', 'camera']) {
      const input = element<HTMLInputElement>(id);
      input.addEventListener('change', () => {
        const [file] = input.files ?? [];
        if (file) void this.choose(file, file.name);
        input.value = '';
      });
    }
    this.takeDropped();
    ui.layer.addEventListener('change', () => this.show(this.shown));
  }

  get areAskedAbout(): boolean {
    return this.asked.length > 0;
  }

  /** The chosen one, which is of the conversation from then on. */
  take(): Picture | undefined {
    const { chosen } = this;
    if (!chosen) return undefined;
    this.asked.push(chosen);
    this.chosen = undefined;
    this.drawTurns();
    return chosen;
  }

  /** Notes what is kept of each, in their order, and shows it. */
  noteKept(images: readonly Kept[]): void {
    images.forEach((kept, index) => {
      const picture = this.asked[index];
      if (picture) picture.kept = kept;
    });
    const { asked, shown } = this;
    this.show(shown && asked.includes(shown) ? shown : (asked.at(-1) ?? shown));
  }

  /** Ends a conversation; its last picture stays for the next. */
  forget(): void {
    this.chosen ??= this.asked.at(-1);
    if (this.chosen) delete this.chosen.kept;
    this.asked = [];
    this.drawTurns();
    this.show(this.chosen);
  }

  async chooseSample(file: string, question: string): Promise<void> {
    const response = await fetch(new URL(`samples/${file}`, document.baseURI));
    await this.choose(await response.blob(), `sample ${Number.parseInt(file, 10)}`);
    if (ui.prompt.value.trim() === '') ui.prompt.value = question;
  }

  private async choose(blob: Blob, name: string): Promise<void> {
    try {
      const bitmap = await createImageBitmap(blob);
      this.chosen = { bitmap, blob, name };
      this.show(this.chosen);
      showError();
    } catch {
      showError(`${name} is not a picture that this browser can read.`);
    }
    this.changed();
  }

  private show(picture: Picture | undefined): void {
    this.shown = picture;
    const layer = ui.layer.value === '' ? undefined : Number(ui.layer.value);
    drawPicture(ui.canvas, picture?.bitmap, picture?.kept, layer);
    ui.dropHint.hidden = picture !== undefined;
    const grid = picture?.kept?.grid;
    ui.layerLabel.hidden = !grid;
    const what = picture ? `Picture: ${picture.name}` : 'No picture yet';
    if (grid && picture?.kept) {
      const share = Math.round(keptShare(picture.kept, layer) * 100);
      const where = layer === undefined ? 'over all layers' : `in layer ${layer}`;
      ui.kept.textContent = `${share} % of its ${grid.rows * grid.columns} patches are held ${where}. What has been let go is veiled.`;
    } else {
      const reason = picture?.kept?.reason;
      ui.kept.textContent = reason ? `What is kept of it cannot be drawn: ${reason}.` : '';
    }
    ui.canvas.setAttribute('aria-label', ui.kept.textContent ? `${what}. ${ui.kept.textContent}` : what);
    for (const [index, thumb] of ui.turns.querySelectorAll('button').entries()) {
      thumb.setAttribute('aria-pressed', String(this.asked[index] === picture));
    }
  }

  private drawTurns(): void {
    ui.turns.hidden = this.asked.length < 2;
    for (const button of ui.turns.querySelectorAll('button')) button.remove();
    ui.turns.append(
      ...this.asked.map((picture, index) => {
        const canvas = document.createElement('canvas');
        canvas.width = 96;
        canvas.height = 96;
        drawPicture(canvas, picture.bitmap, undefined, undefined);
        const button = buttonWith(canvas, () => this.show(picture));
        button.setAttribute('aria-label', `Picture ${index + 1} of this conversation`);
        return button;
      }),
    );
  }

  private addSample(file: string, question: string): void {
    const image = document.createElement('img');
    image.src = new URL(`samples/${file}`, document.baseURI).href;
    image.alt = `Sample ${Number.parseInt(file, 10)}`;
    image.width = 56;
    image.height = 56;
    ui.samples.append(buttonWith(image, () => void this.chooseSample(file, question)));
  }

  private takeDropped(): void {
    addEventListener('paste', (event) => {
      const files = Array.from(event.clipboardData?.files ?? []);
      const file = files.find(({ type }) => type.startsWith('image/'));
      if (!file) return;
      event.preventDefault();
      void this.choose(file, 'the pasted picture');
    });
    addEventListener('dragover', (event) => {
      event.preventDefault();
      ui.drop.classList.add('over');
    });
    for (const type of ['dragleave', 'drop']) addEventListener(type, () => ui.drop.classList.remove('over'));
    addEventListener('drop', (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer?.files ?? [];
      if (file) void this.choose(file, file.name);
    });
  }
}

function buttonWith(content: HTMLElement, pressed: () => void): HTMLButtonElement {
  const button = document.createElement('button');
  button.type = 'button';
  button.append(content);
  button.addEventListener('click', pressed);
  return button;
}
