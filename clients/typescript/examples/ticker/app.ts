import { connect, serverUrl, tell } from '../connect';

interface Price {
  price: number;
  /** When it was published. */
  atMs: number;
}

const INTERVAL_MS = 100;
const find = (id: string) => document.getElementById(id)!;
const first = new Map<string, number>();
const cells = new Map<string, HTMLTableCellElement[]>();
/** What has arrived and is not drawn yet: the newest price of each symbol. */
let arrived = new Map<string, Price>();
let [published, drawnUpTo, shown] = [0, 0, 0];
/** What was drawn in the last second. */
let lately: { atMs: number; updates: number; oldestMs: number }[] = [];

// The server sends the newest record of each key, at most once in an interval. A delivery says which offsets it
// stands for; those that it does not hold were conflated.
const prices = connect().topic('ticker.prices').subscribe({ mode: 'latest', intervalMs: INTERVAL_MS });
prices.on('delivery', (delivery) => {
  if (arrived.size === 0) requestAnimationFrame(draw);
  for (const record of delivery) arrived.set(record.key!, record.json<Price>());
  published += delivery.next - delivery.from;
});
prices.on('ended', (error) => error && tell(error));

function draw(): void {
  const nowMs = Date.now();
  let oldestMs = 0;
  for (const [symbol, { price, atMs }] of arrived) {
    drawPrice(symbol, price);
    oldestMs = Math.max(oldestMs, nowMs - atMs);
  }
  shown += arrived.size;
  lately = [...lately.filter(({ atMs }) => nowMs - atMs < 1_000), { atMs: nowMs, updates: published - drawnUpTo, oldestMs }];
  [arrived, drawnUpTo] = [new Map(), published];
  drawFigures();
}

function drawPrice(symbol: string, price: number): void {
  if (!first.has(symbol)) first.set(symbol, price);
  const change = (price / first.get(symbol)! - 1) * 100;
  const [shownPrice, shownChange] = cells.get(symbol) ?? row(symbol);
  shownPrice!.textContent = price.toFixed(2);
  shownChange!.textContent = `${change < 0 ? '▼' : '▲'} ${Math.abs(change).toFixed(2)} %`;
  shownChange!.className = change < 0 ? 'down' : 'up';
}

/** Inserts the row of a symbol where it belongs. */
function row(symbol: string): HTMLTableCellElement[] {
  const table = find('prices') as HTMLTableSectionElement;
  const element = table.insertRow([...cells.keys()].filter((other) => other < symbol).length);
  element.innerHTML = '<th scope="row"></th><td></td><td></td>';
  element.cells[0]!.textContent = symbol;
  const added = [element.cells[1]!, element.cells[2]!];
  cells.set(symbol, added);
  return added;
}

function drawFigures(): void {
  const figures = {
    published,
    shown,
    conflated: published - shown,
    'published-rate': lately.reduce((sum, { updates }) => sum + updates, 0),
    'screens-rate': lately.length,
    oldest: Math.max(...lately.map(({ oldestMs }) => oldestMs)),
  };
  for (const [id, figure] of Object.entries(figures)) find(id).textContent = figure.toLocaleString('en');
}

const button = find('trade');
let market: Worker | undefined;
button.onclick = () => {
  if (market) market.terminate();
  market = market ? undefined : new Worker('market.js', { type: 'module' });
  market?.addEventListener('message', ({ data }) => tell(new Error(data)));
  market?.postMessage(serverUrl);
  button.ariaPressed = String(market !== undefined);
  button.textContent = market ? 'Close the market' : 'Open the market';
};
