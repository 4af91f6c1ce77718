/** Making elements. Text stays text: nothing that a server or a user says becomes markup. */

/**
 * @param {string} tag
 * @param {object} [properties] properties of the element; `aria` and `data` are maps of their attributes
 * @param {...(Node|string)} children
 */
export function element(tag, { aria = {}, data = {}, ...properties } = {}, ...children) {
	const made = Object.assign(document.createElement(tag), properties);
	for (const [name, value] of Object.entries(aria)) made.setAttribute(`aria-${name}`, value);
	Object.assign(made.dataset, data);
	made.append(...children);
	return made;
}

export const byId = (id) => document.getElementById(id);

/** A field with its label. */
export function field(label, input, className = '') {
	return element('label', { className }, label, input);
}

/** Asks the server; throws what it says when it refuses. */
export async function ask(path) {
	const response = await fetch(path, { headers: { accept: 'application/json' } });
	const answer = await response.json().catch(() => ({}));
	if (!response.ok) throw new Error(answer.message ?? `the server answered ${response.status}`);
	return answer;
}

/** Repeats something while it is looked at; what takes long is not begun twice. */
export function every(intervalMs, action) {
	let timer, isOver = false;
	const run = async () => {
		if (document.visibilityState === 'visible') await action();
		if (!isOver) timer = setTimeout(run, intervalMs);
	};
	run();
	return () => {
		isOver = true;
		clearTimeout(timer);
	};
}

/** A table: its columns are [heading, cell of a row, whether it is a number]. */
export function table(caption, columns, rows) {
	const classOf = (isNumber) => (isNumber ? 'number' : '');
	const heads = columns.map(([head, , isNumber]) => element('th', { scope: 'col', className: classOf(isNumber) }, head));
	const cell = ([, show, isNumber], row) => {
		const shown = show(row);
		if (shown instanceof HTMLTableCellElement) return shown;
		return element('td', { className: classOf(isNumber) }, shown ?? '');
	};
	const lines = rows.map((row) => element('tr', {}, ...columns.map((column) => cell(column, row))));
	return element('div', { className: 'scroll', tabIndex: 0, role: 'region', aria: { label: caption } }, element('table', {},
		element('caption', { className: 'unseen' }, caption),
		element('thead', {}, element('tr', {}, ...heads)), element('tbody', {}, ...lines)));
}
