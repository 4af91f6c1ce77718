// A way to a server on which UDP gets lost, as behind some firewalls.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

const ATTEMPTS_MAX = 20;

/** An address whose TCP leads to that of a server, and whose UDP leads nowhere. */
export async function tcpOnly(address) {
  const { hostname, port } = new URL(`tcp://${address}`);
  const tcp = createServer((client) => {
    const server = connect(port, hostname);
    client.pipe(server).pipe(client);
    // The end of either is that of the other.
    client.on('error', () => server.destroy());
    server.on('error', () => client.destroy());
  });
  const udp = await onePort(tcp);
  return {
    address: `127.0.0.1:${tcp.address().port}`,
    close: () => {
      tcp.close();
      udp.close();
    },
  };
}

/** Binds both to one port, and returns the socket of UDP. */
async function onePort(tcp) {
  for (let attempt = 1; ; attempt += 1) {
    const udp = createSocket('udp4').bind(0, '127.0.0.1');
    await once(udp, 'listening');
    tcp.listen(udp.address().port, '127.0.0.1');
    try {
      await once(tcp, 'listening');
      return udp;
    } catch (error) {
      udp.close();
      // Another program has the port of TCP.
      if (error.code !== 'EADDRINUSE' || attempt === ATTEMPTS_MAX) throw error;
    }
  }
}
