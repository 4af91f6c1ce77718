import type { TidewireError } from '@tidewire/client';
import { connect, tell } from '../connect';

const TEAMS = ['Otters', 'Falcons', 'Lynxes', 'Badgers', 'Herons'];
const client = connect();
const board = client.map('map.scoreboard');
const list = document.querySelector<HTMLOListElement>('#board')!;
const rows = new Map<string, HTMLLIElement>();
const isStill = matchMedia('(prefers-reduced-motion: reduce)');
/** Where the newest score of each team should stand in the topic behind the map. */
const expected = new Map<string, number>();

/** Adds points to a team, also while others do: a score that was written meanwhile is a conflict, and read again. */
async function award(team: string, more: number): Promise<void> {
  for (;;) {
    // Before the score is read: then nothing that was written after it was read goes unnoticed.
    const expectedOffset = expected.get(team) ?? 0;
    const points = (await board.get(team))?.json<number>() ?? 0;
    try {
      const { offset } = await board.set(team, points + more, { expectedKey: team, expectedOffset });
      expected.set(team, (offset ?? 0) + 1);
      return;
    } catch (error) {
      const { code, actual } = error as TidewireError;
      if (code !== 'conflict') return tell(error as Error);
      expected.set(team, Number(actual));
    }
  }
}

/** A row's place among the others may change; its element stays the same. */
function row(team: string): HTMLLIElement {
  const element = document.createElement('li');
  element.innerHTML = '<span class="rank"></span><span class="team"></span><strong class="points"></strong><button>+1</button>';
  element.querySelector('.team')!.textContent = team;
  const button = element.querySelector('button')!;
  button.ariaLabel = `+1 for ${team}`;
  button.onclick = () => void award(team, 1);
  rows.set(team, element);
  return element;
}

/** Moves rows from where they are seen to where they belong. */
function arrange(teams: string[]): void {
  const before = new Map(teams.map((team) => [team, rows.get(team)?.getBoundingClientRect().top]));
  const wanted = teams.map((team) => rows.get(team) ?? row(team));
  wanted.forEach((element, index) => (element.querySelector('.rank')!.textContent = `${index + 1}`));
  if (wanted.length === list.children.length && wanted.every((element, index) => element === list.children[index])) return;
  const focused = document.activeElement as HTMLElement | null;
  list.replaceChildren(...wanted);
  focused?.focus({ preventScroll: true });
  for (const [team, top] of before) {
    const element = rows.get(team)!;
    element.getAnimations().forEach((running) => running.cancel());
    const moved = (top ?? 0) - element.getBoundingClientRect().top;
    if (top === undefined || moved === 0 || isStill.matches) continue;
    element.animate([{ transform: `translateY(${moved}px)` }, { transform: 'none' }], { duration: 400, easing: 'ease-out' });
  }
}

const scores = board.watch({ intervalMs: 100 });
scores.on('value', ({ value: { all, changed } }) => {
  const points = new Map([...all].map(([team, entry]) => [team, entry.json<number>()]));
  arrange([...points.keys()].sort((a, b) => points.get(b)! - points.get(a)! || a.localeCompare(b)));
  for (const team of changed) {
    const shown = rows.get(team)!.querySelector('.points')!;
    const hadPoints = shown.textContent !== '';
    shown.textContent = String(points.get(team) ?? '');
    if (hadPoints && !isStill.matches) shown.animate([{ transform: 'scale(1.35)' }, { transform: 'none' }], 300);
  }
});
scores.on('ended', (error) => error && tell(error));

const play = document.querySelector<HTMLButtonElement>('#play')!;
let playing: ReturnType<typeof setInterval> | undefined;
play.onclick = () => {
  clearInterval(playing);
  playing = playing ? undefined : setInterval(() => void award(TEAMS[Math.floor(Math.random() * TEAMS.length)]!, 1 + Math.floor(Math.random() * 3)), 500);
  play.ariaPressed = String(playing !== undefined);
  play.textContent = playing ? 'Stop' : 'Let them play';
};

// Teams that are there already keep their points.
for (const team of TEAMS) {
  board.set(team, 0, { expectedKey: team, expectedOffset: 0 }).catch((error: TidewireError) => error.code === 'conflict' || tell(error));
}
