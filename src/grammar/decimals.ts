/** Which numbers may be written. */
export interface NumberLimits {
  readonly isInteger: boolean;
  readonly minimum?: number | undefined;
  readonly maximum?: number | undefined;
  readonly exclusiveMinimum?: number | undefined;
  readonly exclusiveMaximum?: number | undefined;
  readonly multipleOf?: number | undefined;
}

/** Digits of a number at most: as many as a double tells apart, so that what is written between two limits is read between them. */
const MOST_DIGITS = 15;
const PLACES = 14;

const [POINT, MINUS, ZERO] = [0x2e, 0x2d, 0x30];

/** Numbers within limits, as multiples of `unit` from `least` to `most`, all counted in steps of 10^-PLACES. */
class Range {
  /** Digits behind the point at most. */
  readonly places: number;
  readonly least: bigint;
  readonly most: bigint;
  readonly unit: bigint;
  readonly key: string;

  constructor(limits: NumberLimits) {
    const { isInteger, minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = limits;
    this.places = isInteger ? 0 : PLACES;
    const beyond = 10n ** BigInt(MOST_DIGITS + PLACES);
    const lower = [
      -beyond,
      ...(minimum === undefined ? [] : [this.#steps(minimum, true)]),
      ...(exclusiveMinimum === undefined ? [] : [this.#steps(exclusiveMinimum, false) + 1n]),
    ];
    const upper = [
      beyond,
      ...(maximum === undefined ? [] : [this.#steps(maximum, false)]),
      ...(exclusiveMaximum === undefined ? [] : [this.#steps(exclusiveMaximum, true) - 1n]),
    ];
    this.least = lower.reduce(larger);
    this.most = upper.reduce((a, b) => (a < b ? a : b));
    this.unit = multipleOf === undefined ? 1n : this.#steps(multipleOf, true);
    this.key = [this.places, this.least, this.most, this.unit].join(' ');
  }

  /** Whether there is one from `from` to `to` that is a multiple of `step`. */
  holds(from: bigint, to: bigint, step: bigint, isNegative: boolean): boolean {
    // Nothing is written with a minus that is the same without.
    const [least, most] = isNegative ? [larger(-this.most, 1n), -this.least] : [this.least, this.most];
    const [low, high] = [larger(from, least), to < most ? to : most];
    const multiple = (this.unit * step) / greatestDivisor(this.unit, step);
    return low <= high && ceiling(low, multiple) * multiple <= high;
  }

  /** @param up where it lies between two steps: the next one, or the one before */
  #steps(value: number, up: boolean): bigint {
    const [, sign, whole, part = '', power = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(
      String(value),
    )!;
    const digits = BigInt(`${sign}${whole}${part}`);
    const places = PLACES - part.length + Number(power);
    if (places >= 0) return digits * 10n ** BigInt(places);
    const divisor = 10n ** BigInt(-places);
    return up ? ceiling(digits, divisor) : -ceiling(-digits, divisor);
  }
}

/** Whether multiples of it can be told: those of smaller parts cannot. */
export function isMeasurable(multipleOf: number): boolean {
  const [, part = '', power = '0'] = /^\d+(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(multipleOf))!;
  return part.length - Number(power) <= PLACES;
}

/** What was written of a number within limits: plain decimals, without an exponent, of which one can always go on to such a number. */
export class Decimals {
  private constructor(
    private readonly range: Range,
    private readonly isNegative: boolean,
    /** Before the point, and behind it where there is one. */
    private readonly whole: string,
    private readonly part: string | undefined,
  ) {}

  /** Before anything is written; undefined where there is no such number. */
  static within(limits: NumberLimits): Decimals | undefined {
    const begun = new Decimals(new Range(limits), false, '', undefined);
    return [MINUS, ...Array.from({ length: 10 }, (_, digit) => ZERO + digit)].some((byte) => begun.step(byte))
      ? begun
      : undefined;
  }

  get key(): string {
    return `${this.range.key} ${this.isNegative ? '-' : ''}${this.whole}${this.part === undefined ? '' : `.${this.part}`}`;
  }

  /** Whether it may end here. */
  get ended(): boolean {
    if (this.whole === '' || this.part === '') return false;
    return this.#reaches(this.part ?? '', 0, 0);
  }

  /** With another byte; undefined where no such number begins so. */
  step(byte: number): Decimals | undefined {
    const next = this.#next(byte);
    if (!next) return undefined;
    return next.#isViable() ? next : undefined;
  }

  #next(byte: number): Decimals | undefined {
    const { range, isNegative, whole, part } = this;
    if (byte === MINUS)
      return whole === '' && !isNegative ? new Decimals(range, true, '', undefined) : undefined;
    if (byte === POINT) {
      const fits = range.places > 0 && part === undefined && whole !== '' && whole.length < MOST_DIGITS;
      return fits ? new Decimals(range, isNegative, whole, '') : undefined;
    }
    const digit = byte - ZERO;
    if (digit < 0 || digit > 9) return undefined;
    if (part === undefined) {
      const fits = whole.length < MOST_DIGITS && whole !== '0';
      return fits ? new Decimals(range, isNegative, `${whole}${digit}`, undefined) : undefined;
    }
    const fits = whole.length + part.length < MOST_DIGITS && part.length < range.places;
    return fits ? new Decimals(range, isNegative, whole, `${part}${digit}`) : undefined;
  }

  #isViable(): boolean {
    const { whole, part } = this;
    if (whole === '')
      return Array.from({ length: 10 }, (_, digit) => ZERO + digit).some((byte) => this.step(byte));
    if (part !== undefined) return this.#reaches(part, 0, this.#most(whole.length) - part.length);
    const more = whole === '0' ? 0 : MOST_DIGITS - whole.length;
    return Array.from({ length: more + 1 }, (_, digits) => digits).some((digits) =>
      this.#reaches('', digits, this.#most(whole.length + digits)),
    );
  }

  /** Digits behind the point, where there are so many before it. */
  #most(whole: number): number {
    return Math.min(this.range.places, MOST_DIGITS - whole);
  }

  /** Whether there is such a number with so many more digits before the point, and up to so many more behind it. */
  #reaches(part: string, before: number, behind: number): boolean {
    const { range, whole, isNegative } = this;
    const step = 10n ** BigInt(PLACES - part.length - behind);
    const size = 10n ** BigInt(before + behind) * step;
    const from = BigInt(`${whole}${part}`) * size;
    return range.holds(from, from + size - step, step, isNegative);
  }
}

function ceiling(value: bigint, divisor: bigint): bigint {
  const quotient = value / divisor;
  return quotient * divisor < value ? quotient + 1n : quotient;
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function greatestDivisor(a: bigint, b: bigint): bigint {
  return b === 0n ? a : greatestDivisor(b, a % b);
}
