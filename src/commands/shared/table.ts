/** Tables for people: columns as wide as a terminal shows what is in them, numbers to the right. */

/** The table with its header; the first `left` columns are text. */
export function table(rows: readonly (readonly string[])[], left = 1): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => Bun.stringWidth(row[i]!))));
  return rows
    .map((row) => {
      const cells = row.map((cell, i) => padded(cell, widths[i]!, i < left ? "end" : "start"));
      return `${cells.join("  ").trimEnd()}\n`;
    })
    .join("");
}

/** The text with spaces at one side, so that a terminal shows it `width` columns wide. */
export function padded(text: string, width: number, at: "start" | "end" = "end"): string {
  const spaces = " ".repeat(Math.max(0, width - Bun.stringWidth(text)));
  return at === "end" ? text + spaces : spaces + text;
}

/** Foreign text as one line of a log, which it can neither end nor colour: what a terminal would obey is written as an escape. */
export function logLine(text: string): string {
  return text.replace(/(?!\t)[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) =>
    character === "\n" ? "\\n" : `\\u${character.codePointAt(0)!.toString(16).padStart(4, "0")}`,
  );
}

/** Foreign text without the control characters that a terminal would obey. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, "?");
}
