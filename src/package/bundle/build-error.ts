/** What the compiler or the loader said, with file, line and the line's text where it knows them. */

interface Position {
  file: string;
  line: number;
  column: number;
  lineText: string;
}

/** One message of the compiler, or any other thrown value, as text for people. */
export function describeBuildError(error: unknown): string {
  const { message, position } = (error ?? {}) as { message?: unknown; position?: Position | null };
  const said = typeof message === "string" ? message : inspect(message ?? error);
  if (!position?.file) return said;
  const pointer = `${" ".repeat(Math.max(0, position.column - 1))}^`;
  return `${position.file}:${position.line}:${position.column}: ${said}\n    ${position.lineText}\n    ${pointer}`;
}

function inspect(value: unknown): string {
  try {
    return Bun.inspect(value).slice(0, 500);
  } catch {
    return typeof value;
  }
}
