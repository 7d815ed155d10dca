/** How messages show a program's value, on one line, short, and safe from getters and proxies that throw; and words to be typed. */

const MAX_CHARACTERS = 80;

export function show(value: unknown): string {
  const text = inspect(value).replace(/\s+/g, " ");
  return text.length <= MAX_CHARACTERS ? text : `${text.slice(0, MAX_CHARACTERS)}…`;
}

function inspect(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value.slice(0, 2 * MAX_CHARACTERS));
    case "bigint":
      return `${value}n`;
    case "function":
      return "a function";
    case "object":
      try {
        return Bun.inspect(value, { depth: 1 });
      } catch {
        return "an object that cannot be shown";
      }
    default:
      return Object.is(value, -0) ? "-0" : String(value);
  }
}

/** A word of a command that a message tells people to type, as a shell reads it back: in quotes where it needs them. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
