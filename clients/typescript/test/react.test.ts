import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Window } from 'happy-dom';
import { act, createElement, StrictMode, useState, type ReactNode } from 'react';
import type { Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { encodeBody } from '../dist/record.js';
import { TidewireProvider, useConnectionState, useCounter, usePresence, useTally, useTopic } from '../dist/react.js';
import { settled, type FakeSocket } from './fake.js';
import { connected } from './scene.js';

const SUBSCRIBE = 12;
const UNSUBSCRIBE = 15;
const WATCH = 26;
const PRESENCE = 29;

let makeRoot: (container: Element) => Root;

before(async () => {
  const window = new Window();
  const page = { window, document: window.document, navigator: window.navigator, IS_REACT_ACT_ENVIRONMENT: true };
  for (const [name, value] of Object.entries(page)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  // It looks for a page when it is loaded.
  makeRoot = (await import('react-dom/client')).createRoot;
});
after(() => {
  Object.assign(globalThis, { window: undefined, document: undefined });
});

async function render(client: Parameters<typeof TidewireProvider>[0]['client'], ...children: ReactNode[]) {
  const container = document.createElement('div');
  const root = makeRoot(container);
  const show = (...shown: ReactNode[]) =>
    act(async () => {
      root.render(createElement(StrictMode, null, createElement(TidewireProvider, { client }, ...shown)));
      await settled();
    });
  await show(...children);
  return { container, show, unmount: () => act(async () => (root.unmount(), await later())) };
}

/** Behind the turn in which what nobody uses is ended. */
async function later(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 5));
  await settled();
}

function watching(socket: FakeSocket, ...update: Parameters<FakeSocket['say']>[0]): Promise<void> {
  const [, req, sub] = socket.of(WATCH).at(-1)!;
  return act(async () => {
    socket.say([27, req!, sub!, 3, 1, { options: ['tea', 'coffee'], rules: { kind: 'single', options: ['tea', 'coffee'] } }], [28, sub!, 2, 1, ...update]);
    await settled();
  });
}

function Likes({ name = 'likes' }: { name?: string }) {
  const { value, error } = useCounter(name);
  return createElement('p', null, error ? error.code : String(value));
}

test('components share one watch per name, and the last one ends it', async () => {
  const { client, socket } = await connected();
  const { container, show, unmount } = await render(client, createElement(Likes, { key: 1 }), createElement(Likes, { key: 2 }));
  assert.equal(container.textContent, 'undefinedundefined');
  assert.equal(socket.of(WATCH).length, 1, 'StrictMode mounts twice, and watches once');
  await watching(socket, 7);
  assert.equal(container.textContent, '77');
  await show(createElement(Likes, { key: 1 }));
  await later();
  assert.equal(socket.of(UNSUBSCRIBE).length, 0);
  await unmount();
  assert.deepEqual(socket.of(UNSUBSCRIBE).map((frame) => frame[2]), [socket.of(WATCH)[0]![2]]);
  assert.equal(socket.of(WATCH).length, 1);
});

test('another name is another watch, and shows nothing of the one before', async () => {
  const { client, socket } = await connected();
  const { container, show, unmount } = await render(client, createElement(Likes, { name: 'a' }));
  await watching(socket, 1);
  assert.equal(container.textContent, '1');
  await show(createElement(Likes, { name: 'b' }));
  await act(later);
  assert.equal(container.textContent, 'undefined');
  assert.deepEqual(socket.of(WATCH).map((frame) => frame[4]), ['a', 'b']);
  assert.equal(socket.of(UNSUBSCRIBE).length, 1);
  await unmount();
});

test('a tally shows its standings, and votes', async () => {
  const { client, socket } = await connected();
  let vote: ReturnType<typeof useTally>['vote'] | undefined;
  function Poll() {
    const tally = useTally('poll');
    vote = tally.vote;
    return createElement('p', null, tally.standings ? `${tally.standings.options} ${tally.standings.counts}` : 'loading');
  }
  const { container, unmount } = await render(client, createElement(Poll));
  await watching(socket, { counts: [2, 1], ballots: 3, blank: 0, overvotes: 0, state: 'open' });
  assert.equal(container.textContent, 'tea,coffee 2,1');
  const voted = vote!('tea', { voter: 'ann' });
  await settled();
  socket.say([23, socket.of(22)[0]![1]!, 3, 3, 0, 1]);
  assert.equal((await voted).status, 'accepted');
  await unmount();
});

test('a refusal is shown', async () => {
  const { client, socket } = await connected();
  const { container, unmount } = await render(client, createElement(Likes));
  await act(async () => {
    socket.say([5, socket.of(WATCH)[0]![1]!, 13, 'not yours']);
    await settled();
  });
  assert.equal(container.textContent, 'forbidden');
  await unmount();
});

test('a topic shows its newest records', async () => {
  const { client, socket } = await connected();
  function Chat() {
    const { records, gap } = useTopic('chat', { limit: 2, start: { last: 2 } });
    return createElement('p', null, `${records.map((record) => record.text())} ${gap?.reason}`);
  }
  const { container, unmount } = await render(client, createElement(Chat));
  assert.equal(socket.of(SUBSCRIBE).length, 1, 'StrictMode mounts twice, and subscribes once');
  const [, req, sub] = socket.of(SUBSCRIBE)[0]!;
  await act(async () => {
    const body = encodeBody(['a', 'b', 'c'].map((payload) => ({ payload })));
    socket.say([13, req!, sub!, 0, 5, 0], [16, sub!, 'chat', 5, 0, 4, 0], [14, sub!, 'chat', 5, 4, 7, 1, null, null, body]);
    await settled();
  });
  assert.equal(container.textContent, 'b,c retention');
  await unmount();
  assert.equal(socket.of(UNSUBSCRIBE).length, 1);
});

test('presence joins once, shows who is there, and leaves', async () => {
  const { client, socket } = await connected();
  function Room() {
    const { members } = usePresence('room', { member: 'ann', data: { since: 1 } });
    return createElement('p', null, [...members.keys()].join());
  }
  const { container, unmount } = await render(client, createElement(Room));
  assert.deepEqual(socket.of(PRESENCE).map((frame) => frame.slice(2, 5)), [[0, 'room', 'ann']]);
  socket.say([7, socket.of(PRESENCE)[0]![1]!]);
  await watching(socket, [['ann', 2, new Uint8Array()], ['bob', 2, new Uint8Array()]]);
  assert.equal(container.textContent, 'ann,bob');
  await unmount();
  assert.deepEqual(socket.of(PRESENCE).map((frame) => frame[2]), [0, 1]);
});

test('the connection state is shown, and hooks need a provider', async () => {
  const { client, socket } = await connected();
  function State() {
    const { state } = useConnectionState();
    const [count] = useState(1);
    return createElement('p', null, `${state} ${count}`);
  }
  const { container, unmount } = await render(client, createElement(State));
  assert.equal(container.textContent, 'connected 1');
  await act(() => socket.end());
  assert.equal(container.textContent, 'disconnected 1');
  await unmount();
  assert.throws(() => renderToString(createElement(Likes)), { code: 'invalid_configuration', message: /TidewireProvider/ });
});
