import type { PatchGrid } from './patch-grid.js';

/** Where a patch may have gone that is no patch of its grid. */
export type Elsewhere = 'other-grid' | 'separator' | 'text';

/** What became of a patch: it stayed, went into a patch of its grid or elsewhere, or is gone. */
export type Fate = 'anchor' | 'patch' | Elsewhere | 'dropped';

export interface PatchFate {
  readonly fate: Fate;
  /** Index into `GROUP_COLORS`, for what went into a patch and for the anchors of such. */
  readonly color?: number | undefined;
}

type Anchor = number | Elsewhere | null;

/** Told apart beside each other, in light and in dark pictures. */
export const GROUP_COLORS = ['#0d9488', '#f97316', '#7c3aed', '#facc15', '#ec4899', '#2563eb', '#65a30d'];

/**
 * The fate of each patch, with colours so that an anchor and all that went into it look the same, and groups that touch
 * look different as far as the colours go.
 * @param anchors [rows x columns] the patch whose entry holds each patch, or what else does, null where it was dropped
 */
export function patchFates({ rows, columns }: PatchGrid, anchors: readonly Anchor[]): PatchFate[] {
  const colors = colorGroups(rows, columns, anchors);
  return anchors.map((anchor, patch) => {
    if (anchor === null) return { fate: 'dropped' };
    if (typeof anchor === 'string') return { fate: anchor };
    return { fate: anchor === patch ? 'anchor' : 'patch', color: colors.get(anchor) };
  });
}

/** Anchor -> colour, greedily in reading order: the first that no group beside it has, from one further on each time. */
function colorGroups(rows: number, columns: number, anchors: readonly Anchor[]): Map<number, number> {
  const touching = new Map<number, Set<number>>();
  const touch = (one: Anchor, other: Anchor) => {
    if (typeof one !== 'number' || typeof other !== 'number' || one === other) return;
    neighbours(one).add(other);
    neighbours(other).add(one);
  };
  const neighbours = (anchor: number) => {
    const known = touching.get(anchor) ?? new Set();
    touching.set(anchor, known);
    return known;
  };
  for (let patch = 0; patch < rows * columns; patch++) {
    if ((patch + 1) % columns !== 0) touch(anchors[patch]!, anchors[patch + 1]!);
    if (patch + columns < rows * columns) touch(anchors[patch]!, anchors[patch + columns]!);
  }
  const grown = new Set(anchors.filter((anchor, patch) => anchor !== patch));
  const colors = new Map<number, number>();
  for (const anchor of grown) {
    if (typeof anchor !== 'number') continue;
    const taken = new Set([...neighbours(anchor)].map((other) => colors.get(other)));
    const order = GROUP_COLORS.map((_, index) => (index + colors.size) % GROUP_COLORS.length);
    colors.set(anchor, order.find((color) => !taken.has(color)) ?? order[0]!);
  }
  return colors;
}
