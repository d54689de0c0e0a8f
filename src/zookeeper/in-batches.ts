/** Of one question so many nodes are asked for at a time: what waits for its turn in a long line counts as not answered. */
const AT_A_TIME = 200;

/** Does the work on each item, one batch after the other; the answers are in the items' order. */
export async function inBatches<T, A>(items: readonly T[], work: (item: T) => Promise<A>): Promise<A[]> {
  const answers: A[] = [];
  for (let from = 0; from < items.length; from += AT_A_TIME) answers.push(...(await Promise.all(items.slice(from, from + AT_A_TIME).map(work))));
  return answers;
}
