/** Activities in flight for `statements` at a time. */
export function inFlightFor(statements: number): number {
  return statements * 4;
}
