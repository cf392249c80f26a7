/** `about 12 min left` */
export function leftName(seconds: number | undefined): string {
  if (seconds === undefined) return 'time left unknown';
  const minutes = seconds / 60;
  if (minutes < 1) return `about ${Math.ceil(seconds)} s left`;
  if (minutes < 120) return `about ${Math.round(minutes)} min left`;
  return `about ${(minutes / 60).toFixed(1)} h left`;
}
