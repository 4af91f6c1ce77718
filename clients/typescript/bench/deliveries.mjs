// How many records of 128 bytes one Node process takes per second, and per second of its own CPU.
//
//   node bench/deliveries.mjs [WS-URL] [--records N] [--batch N] [--read records|deliveries] [--live]
//
// Without a URL it starts the server that TIDEWIRE_BIN names. Another process publishes. Records are published first
// and then read from the beginning, so that neither the publisher nor the server's appending is measured. With
// `--live` they are read while they are published, mostly one per frame: then the second number is the one to look at.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Client } from '../dist/index.js';

const PAYLOAD = new Uint8Array(128).fill(0x78);
const IN_FLIGHT = 64;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    records: { type: 'string', default: '1000000' },
    batch: { type: 'string', default: '1' },
    read: { type: 'string', default: 'records' },
    live: { type: 'boolean', default: false },
    publish: { type: 'string' },
  },
});
const records = Number(values.records);
const batch = Number(values.batch);

async function publish(url, topicName) {
  const client = await new Client(url).connect();
  const topic = client.topic(topicName);
  const one = Array.from({ length: batch }, () => ({ payload: PAYLOAD }));
  let left = Math.ceil(records / batch);
  await Promise.all(Array.from({ length: IN_FLIGHT }, async () => {
    while (left-- > 0) await topic.publishBatch(one);
  }));
  await client.close();
}

/** Reads everything, each record's payload too. */
async function read(url, topicName, begin) {
  const client = await new Client(url).connect();
  const subscription = client.topic(topicName).subscribe({ start: 'earliest', windowBytes: 4 * 1024 * 1024 });
  await subscription.ready();
  begin();
  let count = 0;
  let bytes = 0;
  const cpu = process.cpuUsage();
  const start = performance.now();
  if (values.read === 'deliveries') {
    await new Promise((resolve) => {
      subscription.on('delivery', (delivery) => {
        for (const record of delivery) bytes += record.payload.length;
        count += delivery.count;
        if (count >= records) resolve();
      });
    });
  } else {
    for await (const record of subscription) {
      bytes += record.payload.length;
      if (++count >= records) break;
    }
  }
  const seconds = (performance.now() - start) / 1_000;
  const used = process.cpuUsage(cpu);
  await client.close();
  const cpuSeconds = (used.user + used.system) / 1e6;
  const each = (amount) => Math.round(count / amount).toLocaleString('en');
  const how = values.live ? 'live' : 'from the beginning';
  console.log(`${count} records of ${bytes / count} bytes, ${batch} per publish, read ${how} as ${values.read}: ${each(seconds)}/s, ${each(cpuSeconds)}/s of CPU`);
}

if (values.publish) {
  await publish(positionals[0], values.publish);
} else {
  let server;
  let [url] = positionals;
  if (!url) {
    const { Server } = await import('../.test-build/server.js');
    server = await Server.start(`[[policy]]\nnames = "bench.>"\nretention_records = ${records + 10_000}\nretention_bytes = 1000000000\n`);
    url = server.url;
  }
  const topic = `bench.deliveries.${process.pid}`;
  const args = [url, '--publish', topic, '--records', values.records, '--batch', values.batch];
  const publishing = async () => {
    const [code] = await once(fork(fileURLToPath(import.meta.url), args), 'exit');
    if (code !== 0) throw new Error(`the publisher ended with ${code}`);
  };
  if (values.live) {
    let published;
    await read(url, topic, () => (published = publishing()));
    await published;
  } else {
    await publishing();
    await read(url, topic, () => {});
  }
  await server?.stop();
}
