/** A client over fake time and a fake network. */

import { Client, type ClientOptions, type ConnectionState } from '../dist/index.js';
import { FakeClock, FakeNetwork, settled } from './fake.js';

export function setup(options: ClientOptions = {}, urls: string | string[] = 'ws://a') {
  const clock = new FakeClock();
  const network = new FakeNetwork();
  const client = new Client(urls, { clock, random: () => 0.5, transport: network.transport, ...options });
  const states: ConnectionState[] = [];
  client.on('state', (state) => states.push(state));
  return { clock, network, client, states, names: () => states.map(({ state }) => state) };
}

export async function connected(options: ClientOptions = {}, urls: string | string[] = 'ws://a', info = {}) {
  const all = setup(options, urls);
  const connecting = all.client.connect();
  await settled();
  const socket = await all.network.last.welcome(info);
  await connecting;
  return { ...all, socket };
}
