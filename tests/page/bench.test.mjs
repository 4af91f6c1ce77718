// The page that `tidewire bench --report` writes: a file of its own that asks nobody for anything.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { after, before, describe, test } from 'node:test';
import { assertAccessible, assertClean, assertFits, launch, openPage, screenshot } from './browser.mjs';

const BENCH_MS_MAX = 120_000;
const WORKLOADS = {
  fanout: ['fanout', '--subscribers', '5', '--seconds', '2', '--warmup-seconds', '0'],
  latency: ['latency', '--subscribers', '1,5', '--rounds', '2', '--rate', '500', '--seconds', '1', '--warmup-seconds', '0'],
  idle: ['idle', '--connections', '60', '--connections-per-process', '30', '--seconds', '1'],
};

let browser;
let folder;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tidewire-bench-'));
  browser = await launch();
});
after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs the bench with these options and returns the address of its page. */
function report(name, ...options) {
  const binary = process.env.TIDEWIRE_BIN;
  if (!binary) throw new Error('TIDEWIRE_BIN is not set: it must name the tidewire binary under test');
  const file = join(folder, `${name}.html`);
  execFileSync(binary, ['bench', ...options, '--report', file], { timeout: BENCH_MS_MAX, stdio: ['ignore', 'ignore', 'pipe'] });
  return pathToFileURL(file).href;
}

/** Opens the page and fails if it asks for anything but itself. */
async function open(url, options) {
  const page = await openPage(browser, options);
  page.asked = [];
  page.on('request', (request) => { if (request.url() !== url && !request.url().startsWith('data:')) page.asked.push(request.url()); });
  await page.goto(url);
  return page;
}

async function assertReads(page) {
  await assertAccessible(page);
  await assertFits(page);
  await assertClean(page);
  assert.deepEqual(page.asked, []);
}

/** What a chart draws outside of its own frame, if anything. */
const outside = (page) => page.evaluate(() => [...document.querySelectorAll('.plot svg')].flatMap((svg) => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('path, text')].filter((part) => {
    const box = part.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  }).map((part) => `${part.tagName} ${part.textContent}`);
}));

describe('the page of a benchmark', () => {
  for (const [name, options] of Object.entries(WORKLOADS)) {
    test(`${name}: it reads in light and dark, on a desk and on a phone`, async () => {
      const url = report(name, ...options);
      for (const colorScheme of ['light', 'dark']) {
        const page = await open(url, { colorScheme });
        await assertReads(page);
        assert.deepEqual(await outside(page), []);
        await screenshot(page, `bench-${name}-${colorScheme}`, { fullPage: true });
        await page.close();
      }
      const phone = await open(url, { width: 360, height: 740 });
      await assertReads(phone);
      await screenshot(phone, `bench-${name}-phone`, { fullPage: true });
      await phone.close();
    });
  }

  test('each chart has its values as a table that opens', async () => {
    const save = join(folder, 'before.json');
    report('first', ...WORKLOADS.fanout, '--save', save);
    const page = await open(report('second', ...WORKLOADS.fanout, '--baseline', save));
    const charts = page.locator('section.chart');
    assert.ok(await charts.count() >= 2);
    for (const chart of await charts.all()) {
      await chart.locator('summary').click();
      assert.ok(await chart.locator('details td').first().isVisible());
      assert.ok(await chart.locator('.plot path.line').count() >= 1);
    }
    assert.match(await page.locator('body').innerText(), /before\.json/);
    await assertReads(page);
    await screenshot(page, 'bench-baseline', { fullPage: true });
  });
});
