import fc from 'fast-check';
import { expect, it } from 'vitest';
import { EntryList } from './entry-list.js';

const share = fc.nat(999).map((thousandths) => thousandths / 1000);
const action = fc.oneof(
  { weight: 20, arbitrary: fc.constant({ do: 'append' as const }) },
  {
    weight: 20,
    arbitrary: fc.record({ do: fc.constantFrom('remove' as const, 'at' as const), where: share }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('rowOf' as const), where: share }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('replace' as const), every: fc.integer({ min: 1, max: 3 }) }),
  },
);

it('is a list of positions in dense rows, whatever is done to it', () =>
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200, size: 'max' }), (actions) => {
      const list = new EntryList();
      /** Positions by row: an entry that goes is replaced by that of the last row. */
      let rows: number[] = [];
      let seen = 0;
      for (const step of actions) {
        const logical = rows.toSorted((a, b) => a - b);
        const position = 'where' in step ? logical[Math.floor(step.where * logical.length)] : undefined;
        if (step.do === 'append') {
          list.append();
          list.scores[list.length - 1] = seen;
          rows.push(seen++);
        } else if (step.do === 'replace') {
          rows = logical.filter((_, index) => index % step.every === 0);
          const positions = Int32Array.from(rows);
          list.replace(
            positions,
            positions.map((each) => 1 + (each % 5)),
            Float64Array.from(rows),
            seen,
          );
        } else if (step.do === 'rowOf') {
          const asked = Math.floor(step.where * (seen + 2));
          expect(list.rowOf(asked)).toBe(rows.indexOf(asked));
        } else if (position !== undefined) {
          if (step.do === 'at') {
            expect(list.position(list.at(logical.indexOf(position)))).toBe(position);
          } else {
            // Found without `at`, which would move its remembered place here.
            list.remove(rows.indexOf(position));
            const last = rows.pop()!;
            if (last !== position) rows[rows.indexOf(position)] = last;
          }
        }
        const order = list.order();
        expect(rows.map((_, row) => list.position(row))).toEqual(rows);
        expect(rows.map((_, row) => list.scores[row])).toEqual(rows);
        expect(Array.from(order, (row) => list.position(row))).toEqual(rows.toSorted((a, b) => a - b));
        expect(Array.from(order, (row) => list.previous(row))).toEqual([-1, ...order].slice(0, order.length));
        expect(Array.from(order, (row) => list.next(row))).toEqual([...order, -1].slice(1));
        expect([list.length, list.seen]).toEqual([rows.length, seen]);
        expect([list.first, list.last]).toEqual([order.at(0) ?? -1, order.at(-1) ?? -1]);
        const copied = new Int32Array(rows.length);
        list.copyPositions(copied);
        expect(Array.from(copied)).toEqual(rows);
      }
    }),
  ));

it('keeps counts and scores with their entry when its row changes', () => {
  const list = new EntryList();
  list.replace(Int32Array.of(0, 3, 7), Int32Array.of(1, 4, 2), Float64Array.of(0.5, 0.25, 2), 8);
  list.append();
  list.remove(0);
  // The newest entry, of the last row, is in row 0 now.
  expect([0, 1, 2].map((row) => [list.position(row), list.count(row), list.scores[row]])).toEqual([
    [8, 1, 0],
    [3, 4, 0.25],
    [7, 2, 2],
  ]);
  expect(Array.from(list.order())).toEqual([1, 2, 0]);
});

it('takes entries in any order of rows', () => {
  const list = new EntryList();
  list.replace(Int32Array.of(5, 0, 3), Int32Array.of(1, 1, 1), new Float64Array(3), 6);
  expect(Array.from(list.order())).toEqual([1, 2, 0]);
  expect([list.first, list.last, list.rowOf(3), list.rowOf(4)]).toEqual([1, 0, 2, -1]);
});
