/** Everything a scene can be made of and the one word for each; describe, questions and score share it. */

export type Rgb = readonly [number, number, number];

/** Image side in pixels: 24 x 24 patches of 14. */
export const IMAGE_SIZE = 336;
/** Side of one of the 3 x 3 cells in pixels. */
export const CELL_SIZE = 112;

export const SHAPES = [
  'circle',
  'square',
  'triangle',
  'star',
  'heart',
  'diamond',
  'ring',
  'cross',
  'hexagon',
  'crescent',
] as const;
export type Shape = (typeof SHAPES)[number];

export const COLORS = [
  'red',
  'orange',
  'yellow',
  'green',
  'blue',
  'purple',
  'pink',
  'brown',
  'black',
  'white',
] as const;
export type Color = (typeof COLORS)[number];

export const SIZES = ['small', 'medium', 'large'] as const;
export type Size = (typeof SIZES)[number];

export const TEXTURES = ['plain', 'striped', 'dotted', 'checkered'] as const;
export type Texture = (typeof TEXTURES)[number];

/** Row-major names of the nine cells. */
export const POSITIONS = [
  'top left',
  'top center',
  'top right',
  'middle left',
  'center',
  'middle right',
  'bottom left',
  'bottom center',
  'bottom right',
] as const;
export type Position = (typeof POSITIONS)[number];

export const BACKGROUND_COLORS = [
  'light gray',
  'dark gray',
  'light blue',
  'dark blue',
  'beige',
  'light green',
  'pale pink',
  'lavender',
] as const;
export type BackgroundColor = (typeof BACKGROUND_COLORS)[number];

export const BACKGROUND_STYLES = ['plain', 'shaded', 'lined', 'speckled'] as const;
export type BackgroundStyle = (typeof BACKGROUND_STYLES)[number];

/** Longest extent in pixels before jitter. */
export const DIAMETER: Record<Size, number> = { small: 40, medium: 66, large: 96 };

/** The colour itself and the second tone its textures are drawn in. */
export const COLOR_TONES: Record<Color, { base: Rgb; second: Rgb }> = {
  red: { base: [212, 32, 36], second: [130, 8, 16] },
  orange: { base: [246, 128, 18], second: [255, 196, 122] },
  yellow: { base: [250, 216, 36], second: [202, 158, 6] },
  green: { base: [36, 150, 62], second: [132, 212, 128] },
  blue: { base: [34, 90, 212], second: [136, 180, 252] },
  purple: { base: [124, 46, 168], second: [194, 144, 230] },
  pink: { base: [250, 142, 190], second: [216, 78, 142] },
  brown: { base: [120, 72, 36], second: [184, 134, 90] },
  black: { base: [26, 26, 28], second: [122, 122, 126] },
  white: { base: [248, 248, 246], second: [160, 160, 164] },
};

export const BACKGROUND_TONES: Record<BackgroundColor, Rgb> = {
  'light gray': [192, 194, 196],
  'dark gray': [76, 78, 82],
  'light blue': [166, 206, 236],
  'dark blue': [30, 42, 96],
  beige: [228, 212, 166],
  'light green': [180, 222, 172],
  'pale pink': [248, 202, 214],
  lavender: [204, 184, 232],
};

// Six-letter words avoid M and W, which would get too narrow for their stroke.
export const WORDS = (
  'CAT DOG SUN CAR BUS TEA CUP KEY BOX HAT ' +
  'BOOK TREE FISH BIRD MILK DOOR SHIP LAMP RAIN SNOW OPEN EXIT STOP SALE FREE ' +
  'BREAD HOUSE APPLE LEMON RIVER CLOCK PAPER TRAIN PIANO QUEEN ' +
  'COFFEE GARDEN BOTTLE SCHOOL JACKET'
).split(' ');

export const MIN_OBJECTS = 3;
export const MAX_ITEMS = 9;
