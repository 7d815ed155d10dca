/**
 * The files of a state directory that managers of one cluster share: every `NAME.json` in it, and those of some folders. None holds a
 * secret: keys are in files of other names, and stay where they are.
 */
import { mkdirSync, readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { replaceFile } from "../../trust/files.ts";

const FOLDERS = ["join-tokens", "members"] as const;
const TABLE = /^\w[\w-]{0,63}\.json$/;
const ENTRY = /^\w[\w.%-]{0,255}$/;

/** Whether it is one that several processes may change, and not one that is made once. */
export const isTable = (name: string): boolean => TABLE.test(name);

/** Whether a shared file may be called so: it comes from what others write. */
export function isShared(name: string): boolean {
  const [folder, entry, ...more] = name.split("/");
  if (entry === undefined) return isTable(name);
  return more.length === 0 && FOLDERS.some((one) => one === folder) && ENTRY.test(entry);
}

/** The shared files by name, each with what tells one state of it from another. */
export function listShared(stateDir: string): Map<string, string> {
  const names = namesIn(stateDir).filter(isTable);
  for (const folder of FOLDERS)
    for (const entry of namesIn(join(stateDir, folder)))
      if (ENTRY.test(entry)) names.push(`${folder}/${entry}`);
  const stamps = new Map<string, string>();
  for (const name of names) {
    const state = statSync(join(stateDir, name), { throwIfNoEntry: false });
    if (state?.isFile()) stamps.set(name, `${state.ino} ${state.mtimeMs} ${state.size}`);
  }
  return stamps;
}

export const readShared = (stateDir: string, name: string): string =>
  readFileSync(join(stateDir, name), "utf8");

/** Throws {@link EnvironmentError}. */
export function writeShared(stateDir: string, name: string, text: string): void {
  const path = join(stateDir, name);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  replaceFile(path, text, 0o600);
}

/**
 * What has changed in two states of a file since both were the same: of a table each record by itself, of another file all or nothing. Where
 * both have changed the same, `own` is the newer one; unless it is not known what they were (`before` undefined): then `others` counts.
 */
export function merged(before: string | undefined, own: string, others: string): string {
  if (others === before || own === others) return own;
  if (own === before) return others;
  const [one, other] = [tableIn(own), tableIn(others)];
  if (!one || !other) return others;
  const former = before === undefined ? undefined : tableIn(before);
  const records = { ...other.records };
  for (const name of Object.keys({ ...former?.records, ...one.records })) {
    const record = one.records[name];
    if (former ? Bun.deepEquals(record, former.records[name]) : name in records) continue;
    if (record === undefined) delete records[name];
    else records[name] = record;
  }
  return `${JSON.stringify({ ...other, records }, null, 1)}\n`;
}

function tableIn(text: string): { records: Record<string, unknown> } | undefined {
  try {
    const { records } = JSON.parse(text) as { records?: unknown };
    return typeof records === "object" && records !== null && !Array.isArray(records)
      ? (JSON.parse(text) as { records: Record<string, unknown> })
      : undefined;
  } catch {
    return undefined;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // Nothing has been put there yet.
    return [];
  }
}
