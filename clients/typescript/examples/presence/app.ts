import { connect, tell } from '../connect';

/** What a member says of itself. */
interface Member {
  name: string;
  sinceMs: number;
}

const LOG_LINES_MAX = 6;
/** This page among the others. Where there are accounts, the server knows the member by its token instead. */
const me = crypto.randomUUID();
const room = connect().presence('room.lobby');
const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const name = find<HTMLInputElement>('name');
const leave = find<HTMLButtonElement>('leave');
let seen: Map<string, Member> | undefined;

const here = room.watch();
here.on('value', ({ value: { all, changed } }) => {
  const members = new Map([...all].map(([id, entry]) => [id, entry.json<Member>()]));
  // The first value says who was here before.
  if (seen) for (const id of changed) note(seen.get(id), members.get(id));
  seen = members;
  show(members);
});
here.on('ended', (error) => error && tell(error));

function note(before: Member | undefined, now: Member | undefined): void {
  const [was, is] = [before?.name, now?.name];
  if (was === is) return;
  const line = document.createElement('p');
  line.textContent = !is ? `${was} has left` : !was ? `${is} has joined` : `${was} is ${is} now`;
  const log = find('log');
  log.prepend(line);
  while (log.children.length > LOG_LINES_MAX) log.lastChild!.remove();
}

function show(members: Map<string, Member>): void {
  const all = [...members].sort(([, a], [, b]) => a.sinceMs - b.sinceMs);
  find('here').textContent = all.length === 0 ? 'Nobody is here' : all.length === 1 ? '1 is here' : `${all.length} are here`;
  find('members').replaceChildren(...all.map(([id, member]) => {
    const line = document.createElement('li');
    line.className = id === me ? 'me' : '';
    line.textContent = id === me ? `${member.name} (you)` : member.name;
    return line;
  }));
  leave.disabled = !members.has(me);
  find('join').textContent = members.has(me) ? 'Change' : 'Join';
}

find<HTMLFormElement>('me').onsubmit = (event) => {
  event.preventDefault();
  const member: Member = { name: name.value.trim(), sinceMs: seen?.get(me)?.sinceMs ?? Date.now() };
  if (member.name) room.join(me, member).catch(tell);
};
leave.onclick = () => room.leave(me).catch(tell);
