/** What a new project gets beside its own files: the build makes it (`build/library/kit.ts`), and the executable has it inside. */
import { readFileSync } from "node:fs";

/** Path within the project, and text. */
export type Kit = Record<string, string>;

/** Where a project has the library. */
export const KIT_FOLDER = ".rfaas";

/** Where the code of each entry is in a project. */
export const LIBRARY_FILES: Readonly<Record<string, string>> = {
  rfaas: `${KIT_FOLDER}/code/index.js`,
  "rfaas/function": `${KIT_FOLDER}/code/function.js`,
  "rfaas/testing": `${KIT_FOLDER}/code/testing.js`,
};

export async function loadKit(): Promise<Kit> {
  const { default: file } = await import("../../../dist/kit.json.zst", { with: { type: "file" } });
  return JSON.parse(Bun.zstdDecompressSync(readFileSync(file)).toString()) as Kit;
}
