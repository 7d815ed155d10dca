/**
 * Generates the pages of docs/reference/ from the code: `bun run build/reference.ts`. A test compares the committed pages with what
 * this would write.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { commandsPage } from "./reference/commands.ts";
import { optionsPage } from "./reference/options.ts";

export const FOLDER = join(import.meta.dir, "..", "docs", "reference");

export interface Page {
  /** Within {@link FOLDER}. */
  path: string;
  /** The page as Markdown. */
  text(): string | Promise<string>;
}

/** A further page is a line here and a file in `reference/`. */
export const PAGES: readonly Page[] = [
  { path: "commands.md", text: commandsPage },
  { path: "options.md", text: optionsPage },
];

if (import.meta.main)
  for (const { path, text } of PAGES) {
    const file = join(FOLDER, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, await text());
    console.error(`wrote docs/reference/${path}`);
  }
