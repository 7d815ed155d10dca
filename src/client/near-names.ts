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
