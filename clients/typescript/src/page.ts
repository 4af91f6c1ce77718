/** What a page tells about itself. */
interface Page extends EventTarget {
  readonly visibilityState?: string;
}

/**
 * Looks at the page's visibility and network. `wake`: it may be possible to connect now; `probe`: the connection
 * may be gone without a word, since timers stood still or the network has changed. Returns what ends it.
 */
export function watchPage(wake: () => void, probe: () => void): () => void {
  const scope = globalThis as { document?: Page } & Partial<EventTarget>;
  const page = scope.document;
  if (!page || !scope.addEventListener) return () => {};
  const ending = new AbortController();
  const { signal } = ending;
  const both = () => {
    wake();
    probe();
  };
  const visible = () => {
    if (page.visibilityState !== 'hidden') both();
  };
  page.addEventListener('visibilitychange', visible, { signal });
  scope.addEventListener('online', both, { signal });
  scope.addEventListener('offline', probe, { signal });
  return () => ending.abort();
}
