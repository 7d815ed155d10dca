/** Tables for people: columns as wide as they must be, numbers to the right. */

/** The table with its header; the first `left` columns are text. */
export function table(rows: readonly (readonly string[])[], left = 1): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows
    .map((row) => {
      const cells = row.map((cell, i) =>
        i < left ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!),
      );
      return `${cells.join("  ").trimEnd()}\n`;
    })
    .join("");
}

/** Text of others without what a terminal would obey. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, "?");
}
