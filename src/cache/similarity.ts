/** The product of two vectors, which is their cosine where both have length 1. */
export function similarity(a: Float32Array, b: Float32Array): number {
  // Four sums side by side: no addition has to wait for the one before it.
  let first = 0;
  let second = 0;
  let third = 0;
  let fourth = 0;
  const whole = a.length - (a.length % 4);
  for (let i = 0; i < whole; i += 4) {
    first += a[i]! * b[i]!;
    second += a[i + 1]! * b[i + 1]!;
    third += a[i + 2]! * b[i + 2]!;
    fourth += a[i + 3]! * b[i + 3]!;
  }
  for (let i = whole; i < a.length; i++) first += a[i]! * b[i]!;
  return first + second + third + fourth;
}

/** Brings a vector to length 1, in place; one of zeros stays. */
export function scaledToOne(vector: Float32Array): Float32Array {
  const length = Math.sqrt(similarity(vector, vector));
  if (length > 0) for (let i = 0; i < vector.length; i++) vector[i] = vector[i]! / length;
  return vector;
}
