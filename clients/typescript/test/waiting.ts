/** Waiting for what has to happen, for a bounded time. */

const WAIT_MS_MAX = 15_000;

/** Fails if the promise is not settled in time. */
export async function soon<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${WAIT_MS_MAX} ms`)), WAIT_MS_MAX);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Takes so many items, and does not leave the loop, so that what iterates goes on. */
export async function take<T>(source: AsyncIterable<T>, count: number): Promise<T[]> {
  const iterator = source[Symbol.asyncIterator]();
  const items: T[] = [];
  while (items.length < count) {
    const { value, done } = await soon(iterator.next(), `item ${items.length + 1} of ${count}`);
    if (done) throw new Error(`it ended after ${items.length} of ${count} items`);
    items.push(value);
  }
  return items;
}

/** Waits until it holds, looking again at each turn of the event loop. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  const end = Date.now() + WAIT_MS_MAX;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`${what}: not within ${WAIT_MS_MAX} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
