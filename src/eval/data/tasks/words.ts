/** What generated tasks are made of: common words, each of one to three tokens in most tokenizers. */

const list = (words: string) => words.split(' ');

export const FIRST_NAMES = list(
  'Anna Boris Clara Daniel Edith Felix Gloria Harold Ida Jakob Lena Martin Nora Oscar Paula Rupert',
);
export const LAST_NAMES = list(
  'Archer Bennett Cooper Dawson Ellis Foster Graham Harris Jenkins Lawson Morris Palmer Reed Sutton',
);
export const COLOURS = list('red blue green yellow purple orange black white brown pink');
export const ANIMALS = list('horse rabbit goat turtle duck lion tiger bear wolf eagle');
export const CITIES = list('Paris London Berlin Madrid Rome Vienna Oslo Dublin Athens Prague Lisbon Boston');
export const DAYS = list('Monday Tuesday Wednesday Thursday Friday Saturday Sunday');
export const MONTHS = list('January February March April June July August September October November');
export const THINGS = list('hammer candle bottle mirror basket ladder pillow button needle anchor');
export const FOODS = list('bread cheese soup rice fish honey beans butter noodles cake');
export const TREES = list('oak pine birch maple willow cedar elm palm');
export const JOBS = list('nurse lawyer farmer soldier singer pilot butcher cook judge dentist');
export const BUILDINGS = list('school bakery library hospital theatre bank museum factory church hotel');
