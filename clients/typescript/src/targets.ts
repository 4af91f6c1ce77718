import { PORT } from './codes.js';
import { TidewireError } from './error.js';
import { URLS_GIVEN_MAX, URLS_LEARNED_MAX } from './limits.js';

const PATH = '/v1/ws';

function invalid(message: string): TidewireError {
  return new TidewireError('invalid_configuration', message);
}

/** The whole URL of a node: the port is 7171 and the path `/v1/ws` unless given. */
export function parseTarget(text: string): string {
  const match = /^(wss?):\/\/([^/?#@]+)([/?][^#]*)?$/.exec(text);
  if (!match) throw invalid(`invalid URL '${text}': use ws://HOST:PORT or wss://HOST:PORT`);
  const [, scheme, authority, rest = '/'] = match as unknown as [string, string, string, string?];
  const port = /:\d+$/.test(authority) ? '' : `:${PORT}`;
  const path = rest === '/' ? PATH : rest;
  const url = `${scheme}://${authority}${port}${path}`;
  if (!URL.canParse(url)) throw invalid(`invalid URL '${text}'`);
  return url;
}

function isEncrypted(url: string): boolean {
  return url.startsWith('wss:');
}

/** The nodes of one cluster, as far as the client knows them, and which of them is next. */
export class Targets {
  readonly given: readonly string[];
  readonly #random: () => number;
  #learned: string[] = [];

  constructor(urls: readonly string[], random: () => number) {
    this.given = [...new Set(urls.map(parseTarget))];
    this.#random = random;
    if (this.given.length === 0) throw invalid('a client needs a URL');
    if (this.given.length > URLS_GIVEN_MAX) {
      throw invalid(`more than ${URLS_GIVEN_MAX} URLs: a few nodes know all others`);
    }
    if (this.given.some((url) => isEncrypted(url) !== isEncrypted(this.given[0]!))) {
      throw invalid('some URLs are encrypted and some are not');
    }
  }

  /** Remembers what a server has told, the newest first. Nobody is led to a connection that is less safe. */
  learn(urls: readonly string[]): void {
    this.#learned = [...new Set([...this.#valid(urls), ...this.#learned])]
      .filter((url) => !this.given.includes(url))
      .slice(0, URLS_LEARNED_MAX);
  }

  get several(): boolean {
    return this.given.length + this.#learned.length > 1;
  }

  /** All in a random order, so that the clients of a node that is gone spread; the one that was lost comes last. */
  round(lost: string): string[] {
    const lots = [...new Set([...this.given, ...this.#learned, lost])].map((url) => ({ url, lot: url === lost ? 1 : this.#random() }));
    return lots.sort((one, other) => one.lot - other.lot).map(({ url }) => url);
  }

  /** Those that a server names, in its order, then all others; without the one that is left. */
  others(urls: readonly string[], left: string): string[] {
    const others = [...new Set([...this.#valid(urls), ...this.round(left)])];
    return others.filter((url) => url !== left);
  }

  #valid(urls: readonly string[]): string[] {
    return urls.flatMap((url) => {
      try {
        const target = parseTarget(url);
        return isEncrypted(target) === isEncrypted(this.given[0]!) ? [target] : [];
      } catch {
        // What a server tells is a hint; one that cannot be used is none.
        return [];
      }
    });
  }
}
