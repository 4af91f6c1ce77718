/** Who is connected, and who is behind. */

import { ask, element, every, table } from './elements.js';
import { bytes } from './figures.js';
import { age, integer, setText } from './format.js';

const REFRESH_MS = 2_000;
const SHOWN = 50;

/** What it has not been sent, or that it has everything. */
function behind({ behind_records: records, behind_batches: batches, behind_watches: values, reply_bytes: unwritten }) {
	const parts = [[records, 'records'], [batches, 'batches'], [values, 'values']].filter(([count]) => count)
		.map(([count, what]) => `${integer(count)} ${what}`);
	if (unwritten) parts.push(`${bytes(unwritten)} of replies`);
	return element('span', { className: parts.length ? 'late' : '' }, parts.join(', ') || 'nothing');
}

const COLUMNS = [
	['Session', (row) => row.session, false],
	['Over', (row) => row.transport, false],
	['Address', (row) => row.address, false],
	['Who', (row) => row.subject ?? '–', false],
	['Since', (row) => age(Math.max(0, Date.now() - row.since_ms)), true],
	['Follows', (row) => integer(row.subscriptions), true],
	['Behind by', behind, false],
	['Unanswered', (row) => integer(row.in_flight), true],
];

/** Shows the connections that are behind the most in a panel; returns what ends that. */
export function showConnections(panel) {
	const [note, list] = [element('p', { className: 'note' }), element('div')];
	panel.replaceChildren(element('div', { className: 'bar' }, note), list);
	return every(REFRESH_MS, async () => {
		try {
			const { connections } = await ask(`/v1/connections?slowest=${SHOWN}`);
			setText(note, connections.length < SHOWN ? 'Those that are behind come first.' : `The ${SHOWN} that are behind the most.`);
			if (!list.contains(document.activeElement)) list.replaceChildren(table('Connections', COLUMNS, connections));
		} catch (error) {
			setText(note, error.message);
		}
	});
}
