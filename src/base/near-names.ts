const MAX_NAMES = 20;

/** Names to show beside a wrong one: all of a few, of many those that are most like it. */
export function nearNames(wrong: string, names: readonly string[]): string {
  if (names.length <= MAX_NAMES) return names.join(", ");
  const near = [...names].sort((a, b) => likeness(wrong, b) - likeness(wrong, a));
  return `${near.slice(0, MAX_NAMES).join(", ")} and ${names.length - MAX_NAMES} more`;
}

/** How many characters they begin with alike; more when one is within the other, as in a mangled name. */
function likeness(wrong: string, name: string): number {
  const [a, b] = [wrong.toLowerCase(), name.toLowerCase()];
  if (b.includes(a) || a.includes(b)) return Math.min(a.length, b.length) + 0.5;
  let same = 0;
  while (same < a.length && a[same] === b[same]) same++;
  return same;
}

/**
 * The name that the user probably meant: it differs in a letter or two, in up to a third of its letters when it is long, or one name
 * begins with the other. Leading dashes of an option do not count.
 */
export function nearest(wrong: string, names: readonly string[]): string | undefined {
  const word = bare(wrong);
  const [first] = names
    .map((name) => ({ name, bare: bare(name), edits: editsBetween(word, bare(name)) }))
    .filter(({ bare, edits }) => {
      const shorter = Math.min(word.length, bare.length);
      const most = Math.min(shorter / 2, Math.max(2, Math.max(word.length, bare.length) / 3));
      const begins = shorter >= 3 && (bare.startsWith(word) || word.startsWith(bare));
      return begins || edits <= most;
    })
    .sort((a, b) => a.edits - b.edits);
  return first?.name;
}

const bare = (name: string): string => name.replace(/^-+/, "").toLowerCase();

/** Insertions, deletions and replacements of letters that lead from one to the other. */
function editsBetween(a: string, b: string): number {
  let before = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const now = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = before[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      now.push(Math.min(replaced, before[j]! + 1, now[j - 1]! + 1));
    }
    before = now;
  }
  return before[b.length]!;
}
