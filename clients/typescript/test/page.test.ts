import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { settled } from './fake.js';
import { connected } from './scene.js';

/** What a page has, as far as the client looks at it. */
class Page extends EventTarget {
  visibilityState = 'visible';
}

const page = new Page();
const events = new EventTarget();

before(() => {
  Object.assign(globalThis, {
    document: page,
    addEventListener: events.addEventListener.bind(events),
    removeEventListener: events.removeEventListener.bind(events),
  });
});
after(() => {
  Object.assign(globalThis, { document: undefined, addEventListener: undefined, removeEventListener: undefined });
});

function show(state: string): void {
  page.visibilityState = state;
  page.dispatchEvent(new Event('visibilitychange'));
}

test('a page that is looked at again does not wait for its next attempt', async () => {
  const { clock, network, socket, client } = await connected({ random: () => 1, backoffMinMs: 20_000 });
  await socket.end();
  show('hidden');
  await settled();
  assert.equal(network.sockets.length, 1);
  show('visible');
  await settled();
  assert.equal(network.sockets.length, 2);
  await network.last.end();
  events.dispatchEvent(new Event('online'));
  await settled();
  assert.equal(network.sockets.length, 3, 'nor does one whose network is back');
  await network.last.welcome();
  await client.close();
  events.dispatchEvent(new Event('online'));
  await clock.advance(60_000);
  assert.equal(network.sockets.length, 3, 'a closed client looks no more');
});

test('a connection that may be gone is asked, and given up soon if it says nothing', async () => {
  const { clock, socket, client } = await connected();
  events.dispatchEvent(new Event('offline'));
  await settled();
  assert.deepEqual(socket.of(3), [[3, 0]]);
  await clock.advance(1_000);
  socket.say([4, 0]);
  await clock.advance(5_000);
  assert.equal(client.state, 'connected');
  show('visible');
  await clock.advance(5_000);
  assert.equal(client.state, 'disconnected');
  await client.close();
});
