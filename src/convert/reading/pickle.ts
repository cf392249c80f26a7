/** What a pickle may name. */
export interface PickleNames {
  /** Globals that may be called, by `module.name`, and what comes of it. */
  readonly calls: ReadonlyMap<string, (args: readonly unknown[]) => unknown>;
  /** Globals that may only be named, as the types in persistent ids are. */
  readonly types: ReadonlySet<string>;
  /** What an object kept outside the pickle is. */
  persistent(id: unknown): unknown;
}

/** A global of Python that a pickle names. Nothing is ever imported: it stays a name. */
export class PickleGlobal {
  constructor(readonly name: string) {}
}

/** A pickle asks for something that it may not have. */
export class ForbiddenGlobal extends Error {
  constructor(readonly global: string) {
    super(global);
  }
}

/** The places of a tuple, a dictionary or a list are marked on the stack. */
const mark = Symbol('mark');

/**
 * Reads a pickle of protocol 2 to 5 as data. Dictionaries are Maps, tuples and lists arrays. Only the operations that data need
 * are known: objects are neither made nor changed but by `names.calls`, and an attribute that is set on a dictionary is dropped.
 * The format: pickletools in CPython.
 * @throws ForbiddenGlobal, or any other Error when the pickle is damaged or asks for an operation that data do not need.
 */
export function readPickle(bytes: Uint8Array, names: PickleNames): unknown {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = new TextDecoder('utf-8', { fatal: true });
  const stack: unknown[] = [];
  const memo = new Map<number, unknown>();
  let at = 0;

  const advance = (count: number): number => {
    const start = at;
    if (count > bytes.length - at) throw new RangeError('The pickle ends early.');
    at += count;
    return start;
  };
  const uint8 = () => view.getUint8(advance(1));
  const uint32 = () => view.getUint32(advance(4), true);
  const string = (length: number) => {
    const start = advance(length);
    return text.decode(bytes.subarray(start, at));
  };
  const line = () => {
    const end = bytes.indexOf(10, at);
    if (end < 0) throw new RangeError('The pickle ends early.');
    const value = string(end - at);
    at = end + 1;
    return value;
  };
  const integer = (length: number) => {
    let value = 0n;
    for (let i = 0; i < length; i++) value |= BigInt(uint8()) << BigInt(8 * i);
    return Number(BigInt.asIntN(8 * length, value));
  };
  const pop = (): unknown => {
    const value = stack.pop();
    if (value === undefined || value === mark) throw new TypeError('The stack is empty.');
    return value;
  };
  const popMany = (count: number): unknown[] => Array.from({ length: count }, pop).reverse();
  const popToMark = (): unknown[] => {
    const start = stack.lastIndexOf(mark);
    if (start < 0) throw new TypeError('There is no mark.');
    const values = stack.splice(start);
    return values.slice(1);
  };
  const top = (): unknown => {
    const value = pop();
    stack.push(value);
    return value;
  };
  const recall = (index: number): unknown => {
    const value = memo.get(index);
    if (value === undefined) throw new TypeError('Nothing was kept there.');
    return value;
  };
  const global = (name: string): PickleGlobal => {
    if (!names.calls.has(name) && !names.types.has(name)) throw new ForbiddenGlobal(name);
    return new PickleGlobal(name);
  };
  const set = (items: unknown[]): void => {
    const dictionary = top();
    if (!(dictionary instanceof Map)) throw new TypeError('Items belong into a dictionary.');
    for (let i = 0; i < items.length; i += 2) dictionary.set(items[i], items[i + 1]);
  };
  const append = (items: unknown[]): void => {
    const list = top();
    if (!Array.isArray(list)) throw new TypeError('Values are appended to a list.');
    for (const item of items) list.push(item);
  };
  const call = (): unknown => {
    const [callee, args] = popMany(2);
    if (!(callee instanceof PickleGlobal) || !Array.isArray(args))
      throw new TypeError('That cannot be called.');
    const result = names.calls.get(callee.name);
    if (!result) throw new ForbiddenGlobal(callee.name);
    return result(args);
  };

  const operations: Readonly<Record<string, () => void>> = {
    '\x80': () => void advance(1), // PROTO
    '\x95': () => void advance(8), // FRAME
    '(': () => stack.push(mark),
    '0': () => void pop(),
    '1': () => void popToMark(),
    '2': () => stack.push(top()),
    // What was kept, and keeping it
    q: () => memo.set(uint8(), top()),
    r: () => memo.set(uint32(), top()),
    '\x94': () => memo.set(memo.size, top()),
    h: () => stack.push(recall(uint8())),
    j: () => stack.push(recall(uint32())),
    // Numbers and strings
    N: () => stack.push(null),
    '\x88': () => stack.push(true),
    '\x89': () => stack.push(false),
    K: () => stack.push(uint8()),
    M: () => stack.push(view.getUint16(advance(2), true)),
    J: () => stack.push(view.getInt32(advance(4), true)),
    '\x8a': () => stack.push(integer(uint8())),
    G: () => stack.push(view.getFloat64(advance(8), false)),
    '\x8c': () => stack.push(string(uint8())),
    X: () => stack.push(string(uint32())),
    '\x8d': () => stack.push(string(Number(view.getBigUint64(advance(8), true)))),
    // Tuples, lists, dictionaries
    ')': () => stack.push([]),
    t: () => stack.push(popToMark()),
    '\x85': () => stack.push(popMany(1)),
    '\x86': () => stack.push(popMany(2)),
    '\x87': () => stack.push(popMany(3)),
    ']': () => stack.push([]),
    a: () => append(popMany(1)),
    e: () => append(popToMark()),
    '}': () => stack.push(new Map()),
    s: () => set(popMany(2)),
    u: () => set(popToMark()),
    // Names, calls, objects outside
    c: () => stack.push(global(`${line()}.${line()}`)),
    '\x93': () => stack.push(global(popMany(2).join('.'))),
    R: () => stack.push(call()),
    Q: () => stack.push(names.persistent(pop())),
    b: () => {
      pop();
      // PyTorch sets the versions of the modules, which are no tensors.
      if (!(top() instanceof Map)) throw new TypeError('Only a dictionary has attributes.');
    },
  };
  for (;;) {
    const code = String.fromCharCode(uint8());
    if (code === '.') return pop();
    const operation = Object.hasOwn(operations, code) ? operations[code] : undefined;
    if (!operation) {
      throw new TypeError(`Operation ${JSON.stringify(code)} is none that data need.`);
    }
    operation();
  }
}
