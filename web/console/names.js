/** Lists of what there is: topics, tallies, counters, groups, presence. */

import { ask, element, every, field, table } from './elements.js';
import { bytes } from './figures.js';
import { integer, setText } from './format.js';

const REFRESH_MS = 2_000;
const PAGE = 50;

const disk = (row) => element('span', { className: 'tag' }, row.is_on_disk ? 'disk' : 'memory');

/** By kind: columns, and what it is called. `open`: what a click on a name does. */
const KINDS = {
	topic: {
		empty: 'There are no topics yet. One comes to be with its first record or its first subscriber.',
		columns: (open) => [
			['Topic', named(open), false],
			['Kept', disk, false],
			['Records', (row) => integer(row.records), true],
			['Next offset', (row) => integer(row.next), true],
			['Size', (row) => bytes(row.bytes), true],
			['Keys', (row) => (row.map_keys === undefined ? '' : integer(row.map_keys)), true],
			['Partitions', (row) => integer(row.partitions), true],
		],
	},
	tally: {
		empty: 'There are no tallies yet: an application creates one with its options.',
		columns: (open) => [
			['Tally', named(open), false],
			['State', (row) => element('span', { className: 'tag' }, row.state), false],
			['Ballots', (row) => integer(row.ballots), true],
			['Leading', (row) => (row.is_hidden ? 'hidden until it is closed' : leaders(row.leading)), false],
			['Kept', disk, false],
		],
	},
	counter: {
		empty: 'There are no counters yet. One comes to be with its first increment.',
		columns: (open) => [
			['Counter', named(open), false],
			['Value', (row) => integer(row.value), true],
			['Consistency', (row) => (row.is_eventual ? 'eventual' : 'strong'), false],
			['Kept', disk, false],
		],
	},
	group: {
		empty: 'There are no consumer groups yet.',
		columns: (open) => [
			['Topic', named(open), false],
			['Group', (row) => row.group, false],
			['Lag', (row) => lag(row.lag), true],
			['Leased', (row) => integer(row.leased), true],
			['Consumers', (row) => integer(row.consumers), true],
			['Redelivered', (row) => integer(row.redelivered), true],
			['Dead letters', (row) => lag(row.dead), true],
			['Missed', (row) => lag(row.missed), true],
		],
	},
	presence: {
		empty: 'Nobody is present anywhere.',
		columns: (open) => [['Set', named(open), false], ['Members', (row) => integer(row.members), true]],
	},
};

const leaders = (leading) => leading.filter(([, votes]) => votes).slice(0, 3)
	.map(([option, votes]) => `${option} ${integer(votes)}`).join(' · ');
const lag = (count) => element('span', { className: count ? 'late' : '' }, integer(count));

function named(open) {
	return (row) => element('td', { className: 'name' }, open(row)
		? element('button', { title: row.name ?? row.topic, onclick: open(row) }, row.name ?? row.topic) : row.name ?? row.topic);
}

/** Shows names of a kind in a panel; returns what ends that. */
export function showNames(panel, kind, open) {
	const { columns, empty } = KINDS[kind];
	const pattern = element('input', { placeholder: 'poll.>', spellcheck: false, autocapitalize: 'off' });
	const [note, list] = [element('p', { className: 'note' }), element('div')];
	const [more, first] = [element('button', { hidden: true }, 'Next page'), element('button', { hidden: true }, 'First page')];
	let after;
	panel.replaceChildren(element('div', { className: 'bar' }, field('Matching', pattern, 'wide'), note), list,
		element('div', { className: 'bar' }, first, more));
	const refresh = async () => {
		const query = new URLSearchParams({ kind, limit: PAGE });
		if (pattern.value.trim()) query.set('pattern', pattern.value.trim());
		if (after) query.set('after', after);
		try {
			const { names, matching, next, missing_shards: missing } = await ask(`/v1/names?${query}`);
			const without = missing.length ? `, without those of shards ${missing.join(', ')}, of which this node has no copy` : '';
			setText(note, `${integer(matching)} in all${without}`);
			if (!list.contains(document.activeElement)) {
				list.replaceChildren(names.length ? table(kind, columns(open), names)
					: element('p', { className: 'empty' }, pattern.value ? 'Nothing matches.' : empty));
			}
			more.hidden = !next;
			more.onclick = () => go(next);
		} catch (error) {
			setText(note, error.message);
		}
		first.hidden = !after;
	};
	const go = (name) => {
		after = name;
		refresh();
	};
	first.onclick = () => go(undefined);
	pattern.oninput = () => go(undefined);
	return every(REFRESH_MS, refresh);
}
