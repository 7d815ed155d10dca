/** The licences of what an artefact contains, as one text: ours, those of the bundled packages, and Bun's. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..", "..");
/** Bun's npm package has no licence file: this is what its documentation says. */
const BUN = `Bun is MIT-licensed, Copyright (c) Oven. It links libraries statically, JavaScriptCore and WebKit's among them, which are under
the LGPL-2: https://bun.com/docs/project/licensing lists them with their licences, and says how to link Bun with another version.
`;

interface Locked {
  version: string;
  license: string;
  dev?: boolean;
  optional?: boolean;
}

/** Of the executable. */
export const licences = (): string => licencesOf(() => true, `Bun ${Bun.version}\n\n${BUN}`);

/** Of code that has the packages `names` inside. */
export const licencesOfCode = (names: readonly string[]): string =>
  licencesOf((name) => names.includes(name));

function licencesOf(isInside: (name: string) => boolean, ...others: string[]): string {
  const parts = [`rfaas\n\n${readFileSync(join(ROOT, "LICENSE"), "utf8")}`];
  const lock = readFileSync(join(ROOT, "package-lock.json"), "utf8");
  const packages = (JSON.parse(lock) as { packages: Record<string, Locked> }).packages;
  for (const [path, { version, license, dev, optional }] of Object.entries(packages)) {
    // What is optional has native code, and stays outside of the executable.
    if (path === "" || dev || optional) continue;
    const folder = join(ROOT, path);
    const name = path.replace("node_modules/", "");
    if (!isInside(name)) continue;
    const file = existsSync(folder) && readdirSync(folder).find((one) => /^licen[sc]e/i.test(one));
    if (!file) throw new Error(`${path} has no licence file; run: npm run setup`);
    parts.push(`${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8")}`);
  }
  parts.push(...others);
  return parts.map((part) => `${part.trim()}\n`).join(`\n${"-".repeat(80)}\n\n`);
}
