/** What bash hands over is the line: its own words are cut at colons and equals signs, and it puts back what is behind the last cut. */

/** The unquoted words; the last one, at the cursor, may be empty. `quote` is the quotation mark that is open there. */
export function splitLine(line: string): { words: string[]; quote: '"' | "'" | undefined } {
  const words: string[] = [];
  let word: string | undefined;
  let quote: '"' | "'" | undefined;
  for (let i = 0; i < line.length; i++) {
    const character = line[i]!;
    if (character === quote) quote = undefined;
    else if (quote === undefined && (character === '"' || character === "'")) {
      quote = character;
      word ??= "";
    } else if (character === "\\" && quote !== "'" && i + 1 < line.length) {
      const next = line[++i]!;
      // Within double quotes a backslash stands for itself before most characters.
      word = (word ?? "") + (quote === '"' && !'"\\$`'.includes(next) ? `\\${next}` : next);
    } else if (quote === undefined && /\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + character;
  }
  return { words: [...words, word ?? ""], quote };
}

/** The words as bash puts them in the place of `replaced`, the end of the word at the cursor. */
export function forBash(words: readonly string[], line: string, replaced: string): string[] {
  const { words: typed, quote } = splitLine(line);
  const current = typed.at(-1)!;
  const end = quote === undefined ? splitLine(replaced).words.at(-1)! : replaced;
  const kept = current.endsWith(end) ? current.length - end.length : 0;
  return words.map((word) => {
    const rest = word.slice(kept);
    if (quote === "'") return rest;
    return rest.replace(quote === '"' ? /["\\$`]/g : /[^\w@%+=:,./#~-]/g, "\\$&");
  });
}
