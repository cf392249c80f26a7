import fc from 'fast-check';
import { expect, it } from 'vitest';
import { EntryList } from './entry-list.js';

const action = fc.oneof(
  { weight: 20, arbitrary: fc.constant({ do: 'append' as const }) },
  {
    weight: 20,
    arbitrary: fc.record({
      do: fc.constantFrom('remove' as const, 'at' as const),
      where: fc.nat(999).map((thousandths) => thousandths / 1000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('compact' as const), every: fc.integer({ min: 1, max: 3 }) }),
  },
);

it('is a list of positions with a slot each, whatever is done to it', () =>
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200, size: 'max' }), (actions) => {
      const list = new EntryList();
      let expected: number[] = [];
      let seen = 0;
      for (const step of actions) {
        if (step.do === 'append') {
          const slot = list.append();
          list.scores[slot] = seen;
          expected.push(seen++);
        } else if (step.do === 'compact') {
          expected = expected.filter((_, index) => index % step.every === 0);
          list.compact(list.order().filter((_, index) => index % step.every === 0));
          expect(list.slotsNeeded(1)).toBe(expected.length + 1);
        } else if (expected.length > 0) {
          const index = Math.floor(step.where * expected.length);
          if (step.do === 'at') {
            expect(list.position(list.at(index))).toBe(expected[index]);
          } else {
            // Found without `at`, which would move its remembered place here.
            list.remove(list.order()[index]!);
            expected.splice(index, 1);
          }
        }
        const order = list.order();
        expect(new Set(order).size).toBe(order.length);
        expect(Array.from(order, (slot) => list.position(slot))).toEqual(expected);
        expect(Array.from(order, (slot) => list.scores[slot])).toEqual(expected);
        expect(Array.from(order, (slot) => list.previous(slot))).toEqual(
          [-1, ...order].slice(0, order.length),
        );
        expect([list.length, list.seen]).toEqual([expected.length, seen]);
        expect([list.first, list.last]).toEqual([order.at(0) ?? -1, order.at(-1) ?? -1]);
      }
    }),
  ));

it('takes the slot of the removed entry for the next one', () => {
  const list = new EntryList();
  for (let token = 0; token < 5; token++) list.append();
  list.remove(list.at(2));
  expect(list.slotsNeeded(1)).toBe(5);
  expect(list.append()).toBe(2);
  expect(Array.from(list.order())).toEqual([0, 1, 3, 4, 2]);
});
