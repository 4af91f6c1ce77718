// One subscriber in Node: node subscribers/node.mjs CLIENT READ URL TOPIC BACKLOG BACKLOGS

import { WebSocket } from 'ws';
import { Meter } from './meter.mjs';

const [client, read, url, topic, backlog, backlogs] = process.argv.slice(2);
const meter = new Meter(Number(backlog), Number(backlogs));

const fail = (why) => {
  console.error(why);
  process.exit(1);
};

const clients = {
  async tidewire() {
    const { Client } = await import('../../typescript/dist/index.js');
    const subscription = (await new Client(url).connect()).topic(topic).subscribe();
    subscription.on('gap', ({ from, next, reason }) => fail(`${next - from} records are missing: ${reason}`));
    if (read === 'callback') subscription.on('record', (record) => meter.take(record.payload.length));
    await subscription.ready();
    meter.ready();
    if (read === 'iterate') for await (const record of subscription) meter.take(record.payload.length);
  },

  async nats() {
    // The same WebSocket as the others have.
    globalThis.WebSocket = WebSocket;
    const { wsconnect } = await import('@nats-io/nats-core');
    const connection = await wsconnect({ servers: url, reconnect: false });
    connection.closed().then((error) => fail(`the connection has ended: ${error}`));
    const callback = (error, message) => (error ? fail(error) : meter.take(message.data.length));
    const subscription = connection.subscribe(topic, read === 'callback' ? { callback } : {});
    await connection.flush();
    meter.ready();
    if (read === 'iterate') for await (const message of subscription) meter.take(message.data.length);
  },

  centrifuge: async () => centrifuge(await import('centrifuge')),
  'centrifuge-protobuf': async () => centrifuge(await import('centrifuge/build/protobuf')),
};

async function centrifuge({ Centrifuge }) {
  const connection = new Centrifuge(url, { websocket: WebSocket });
  const subscription = connection.newSubscription(topic);
  subscription.on('publication', ({ data }) => meter.take(data.length));
  subscription.on('subscribed', () => meter.ready());
  connection.on('disconnected', ({ reason }) => fail(`disconnected: ${reason}`));
  subscription.subscribe();
  connection.connect();
}

await clients[client]();
