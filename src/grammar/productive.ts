import type { Expression } from './expressions.js';

/**
 * Tells of an expression whether some text of it has an end: none does where something holds itself in every case. Also of those that are made of its parts later.
 */
export function productive(root: Expression): (expression: Expression) => boolean {
  const ending = new Set<Expression>();
  // Alike parts are one, and each is looked at once.
  const known = new Map<Expression, boolean>();
  const ends = (expression: Expression): boolean => {
    const found = known.get(expression) ?? judged(expression);
    known.set(expression, found);
    return found;
  };
  const judged = (expression: Expression): boolean => {
    switch (expression.kind) {
      case 'byte':
        return expression.allowed.includes(1);
      case 'both':
        return endsAll(expression);
      case 'choice':
        return expression.options.some(ends);
      case 'repeat':
        return expression.least === 0 || ends(expression.of);
      case 'rule':
        return ending.has(expression);
      case 'text':
        return expression.least <= expression.most;
      case 'number':
        return true;
    }
  };
  /** One behind the other, however many. */
  const endsAll = (expression: Expression): boolean => {
    let rest = expression;
    for (; rest.kind === 'both'; rest = rest.then) if (!ends(rest.first)) return false;
    return ends(rest);
  };
  const rules = rulesIn(root);
  for (let before = -1; before < ending.size; ) {
    before = ending.size;
    known.clear();
    for (const rule of rules) if (ends(rule.is!)) ending.add(rule);
  }
  known.clear();
  return ends;
}

function rulesIn(root: Expression): Extract<Expression, { kind: 'rule' }>[] {
  const seen = new Set<Expression>([root]);
  for (const each of seen) {
    if (each.kind === 'both') seen.add(each.first).add(each.then);
    else if (each.kind === 'choice') for (const option of each.options) seen.add(option);
    else if (each.kind === 'repeat') seen.add(each.of);
    else if (each.kind === 'rule') seen.add(each.is!);
  }
  return [...seen].filter((each) => each.kind === 'rule');
}
