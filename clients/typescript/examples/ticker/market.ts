// A market of one's own, in a thread of its own: it publishes prices at a steady rate until its page ends it.

import { Client } from '@tidewire/client';

const SYMBOLS = ['TIDE', 'WAVE', 'REEF', 'SURF', 'MOON', 'SALT', 'KELP', 'GULL'];
const UPDATES_PER_SECOND = 10_000;
const BATCH = 100;
/** Who falls further behind its schedule begins it anew. */
const BEHIND_MAX = UPDATES_PER_SECOND / 2;

const prices = new Map(SYMBOLS.map((symbol) => [symbol, 100]));

function change() {
  const key = SYMBOLS[Math.floor(Math.random() * SYMBOLS.length)]!;
  const price = prices.get(key)! * (1 + (Math.random() - 0.5) / 500);
  prices.set(key, price);
  return { key, payload: { price, atMs: Date.now() } };
}

async function trade(url: string): Promise<never> {
  const topic = (await new Client(url).connect()).topic('ticker.prices');
  let [began, published] = [performance.now(), 0];
  for (;;) {
    const due = ((performance.now() - began) / 1_000) * UPDATES_PER_SECOND;
    if (due - published > BEHIND_MAX) [began, published] = [performance.now(), 0];
    else if (due < published) await new Promise((resolve) => setTimeout(resolve, ((published - due) / UPDATES_PER_SECOND) * 1_000));
    else {
      await topic.publishBatch(Array.from({ length: BATCH }, change));
      published += BATCH;
    }
  }
}

addEventListener('message', ({ data }: MessageEvent<string>) => {
  trade(data).catch(({ message }: Error) => postMessage(message));
});
