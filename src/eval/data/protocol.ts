/**
 * What a cache knows when it is compressed. `known`: the question, which is at the end of the prompt. `unknown`: the image or the text alone; the question is a turn of its own
 * that comes later, as when several are asked about one image.
 */
export const PROTOCOLS = ['known', 'unknown'] as const;
export type Protocol = (typeof PROTOCOLS)[number];
