// From a vote in one page to the number in the document of every other page: how long that takes in a real browser.
// `node vote-latency.mjs --help` says how it is run.

import { parseArgs } from 'node:util';
import { launch, openPage } from './browser.mjs';
import { startServer } from './daemon.mjs';
import { servePages } from './pages.mjs';
import { caller, sdkPage } from './sdk.mjs';

const HELP = `TIDEWIRE_BIN=BINARY node vote-latency.mjs [OPTIONS]

One page votes, the others watch; all are pages of one headless Chromium on this machine, each in a context of its own.
Measured is the time from the call of vote() to the number of ballots in the document of a watcher.

  --votes N         ballots of a round (500)
  --watchers N      pages that watch (4)
  --interval-ms N   time from one ballot to the next (20)
  --rounds N        rounds of each transport, in turn (3)
  --transports A,B  of ws, wss and webtransport (wss,webtransport)
  --json            one JSON object instead of a table
`;
const OPTIONS = ['tea', 'coffee', 'water'];
/** Ballots before those that count: code is compiled, connections have their pace. */
const WARM_UP = 50;
/** Beyond the time that the votes themselves take. */
const SPARE_MS = 30_000;

function parse() {
  const number = (name, least) => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < least) throw new Error(`--${name} needs a number from ${least} on`);
    return value;
  };
  const { values } = parseArgs({
    options: {
      votes: { type: 'string', default: '500' },
      watchers: { type: 'string', default: '4' },
      'interval-ms': { type: 'string', default: '20' },
      rounds: { type: 'string', default: '3' },
      transports: { type: 'string', default: 'wss,webtransport' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    process.exit(0);
  }
  const transports = values.transports.split(',');
  const unknown = transports.find((name) => !['ws', 'wss', 'webtransport'].includes(name));
  if (unknown !== undefined) throw new Error(`there is no transport '${unknown}': use ws, wss and webtransport`);
  const [votes, watchers, rounds] = ['votes', 'watchers', 'rounds'].map((name) => number(name, 1));
  return { votes, watchers, rounds, intervalMs: number('interval-ms', 0), transports, json: values.json };
}

/** A page that is connected over this transport. */
async function open({ browser, origin, server }, transport, msMax) {
  const page = await openPage(browser, { width: 400, height: 300, ignoreHTTPSErrors: true });
  await page.goto(origin);
  const call = caller(page, msMax);
  const used = await call('connect', `${transport === 'ws' ? 'ws' : 'wss'}://${server.address}`, transport === 'webtransport' ? server.fingerprint : null);
  if ((used === 'webtransport') !== (transport === 'webtransport')) throw new Error(`${transport} was asked for, and it is ${used}`);
  return { call, close: () => page.context().close() };
}

/** One round: the times of each vote to each watcher, to the last watcher, and to the reply. */
async function round(machine, transport, tally, { votes, watchers, intervalMs }) {
  const count = WARM_UP + votes;
  const opening = Array.from({ length: watchers + 1 }, () => open(machine, transport, count * intervalMs + SPARE_MS));
  const [voter, ...watching] = await Promise.all(opening);
  await voter.call('create', tally, OPTIONS);
  await Promise.all(watching.map(({ call }) => call('watch', tally)));
  const { times, replyMs } = await voter.call('vote', tally, OPTIONS, count, intervalMs);
  const seen = await Promise.all(watching.map(({ call }) => call('seen', count)));
  await Promise.all([voter, ...watching].map(({ close }) => close()));
  // A watcher shows the newest number: with it stands every vote before.
  const delays = seen.map((shown) => {
    let at = 0;
    return times.map((time, vote) => {
      while (shown[at][0] <= vote) at += 1;
      return shown[at][1] - time;
    }).slice(WARM_UP);
  });
  const last = delays[0].map((_, vote) => Math.max(...delays.map((of) => of[vote])));
  return { each: delays.flat(), last, reply: replyMs.slice(WARM_UP) };
}

/** The value below which this part of them lies. */
function quantile(values, part) {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(Math.floor(sorted.length * part), sorted.length - 1)];
}

/** p50 and p99 of the rounds: the median, and half the range. */
function summary(rounds, what) {
  const of = (part) => {
    const figures = rounds.map((measured) => quantile(measured[what], part));
    return { median: quantile(figures, 0.5), halfRange: (Math.max(...figures) - Math.min(...figures)) / 2 };
  };
  return { p50Ms: of(0.5), p99Ms: of(0.99) };
}

async function measure(options) {
  const pages = await servePages(await sdkPage('voting.js'));
  const browser = await launch();
  const server = await startServer(`[http]\nallowed_origins = ["${pages.origin}"]\n`);
  const results = new Map(options.transports.map((transport) => [transport, []]));
  try {
    for (let at = 1; at <= options.rounds; at += 1) {
      for (const transport of options.transports) {
        process.stderr.write(`round ${at} of ${options.rounds}, ${transport}\n`);
        results.get(transport).push(await round({ browser, origin: pages.origin, server }, transport, `poll.${transport}.${at}`, options));
      }
    }
  } finally {
    await browser.close();
    await server.stop();
    pages.close();
  }
  return Object.fromEntries([...results].map(([transport, rounds]) => [
    transport,
    { eachWatcher: summary(rounds, 'each'), lastWatcher: summary(rounds, 'last'), reply: summary(rounds, 'reply') },
  ]));
}

function print(options, results) {
  const { votes, watchers, intervalMs, rounds } = options;
  const cell = ({ median, halfRange }) => `${median.toFixed(2)} ± ${halfRange.toFixed(2)}`.padEnd(15);
  console.log(`milliseconds from vote() to the document of ${watchers} watchers; ${rounds} rounds of ${votes} votes, one each ${intervalMs} ms; median ± half the range\n`);
  console.log('| transport    | each watcher: p50 | p99             | last watcher: p50 | p99             | reply: p50      | p99             |');
  console.log('|--------------|-------------------|-----------------|-------------------|-----------------|-----------------|-----------------|');
  for (const [transport, { eachWatcher, lastWatcher, reply }] of Object.entries(results)) {
    const cells = [eachWatcher, lastWatcher, reply].flatMap(({ p50Ms, p99Ms }) => [cell(p50Ms), cell(p99Ms)]);
    const widths = [17, 15, 17, 15, 15, 15];
    console.log(`| ${transport.padEnd(12)} | ${cells.map((text, at) => text.padEnd(widths[at])).join(' | ')} |`);
  }
}

const options = parse();
const results = await measure(options);
if (options.json) console.log(JSON.stringify({ ...options, results }));
else print(options, results);
