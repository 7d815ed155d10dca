/** Whether a range of uids is free: functions must not be a user whom the machine has, nor whom one of its users can become. */
import { readFileSync } from "node:fs";
import type { UidRange } from "./range.ts";

/** What the machine says of its users, each as its file has it; an empty text for a file that is not there. */
export interface Accounts {
  passwd: string;
  group: string;
  subuid: string;
  subgid: string;
  /** The uids that this process's user namespace has. */
  uidMap: string;
  gidMap: string;
}

export const accountsHere = (): Accounts => ({
  passwd: textOf("/etc/passwd"),
  group: textOf("/etc/group"),
  subuid: textOf("/etc/subuid"),
  subgid: textOf("/etc/subgid"),
  uidMap: textOf("/proc/self/uid_map"),
  gidMap: textOf("/proc/self/gid_map"),
});

/** Why functions must not, or cannot, have the uids of a range, and gids of the same numbers: a clause for each reason. */
export function clashesOf({ from, to }: UidRange, accounts: Accounts): string[] {
  const within = (first: number, last: number): boolean => first <= to && last >= from;
  const account = (kind: string, file: string) => (fields: string[]) => {
    const [name, , id] = fields;
    const number = Number(id);
    return id && within(number, number) ? [`${number} is the ${kind} ${name} of ${file}`] : [];
  };
  const delegated = (file: string) => (fields: string[]) => {
    const [name, first, count] = fields.map(String);
    const [begin, end] = [Number(first), Number(first) + Number(count) - 1];
    return count && within(begin, end)
      ? [`${begin} to ${end} are for containers of ${name}, by ${file}`]
      : [];
  };
  const mapped = (kind: string, map: string): string[] => {
    const ranges = linesOf(map).map((line) => line.trim().split(/\s+/).map(Number));
    const all = ranges.some(([first, , count]) => first! <= from && to < first! + count!);
    return all || ranges.length === 0 ? [] : [`this user namespace has not all of these ${kind}`];
  };
  return [
    ...fieldsOf(accounts.passwd).flatMap(account("user", "/etc/passwd")),
    ...fieldsOf(accounts.group).flatMap(account("group", "/etc/group")),
    ...fieldsOf(accounts.subuid).flatMap(delegated("/etc/subuid")),
    ...fieldsOf(accounts.subgid).flatMap(delegated("/etc/subgid")),
    ...mapped("uids", accounts.uidMap),
    ...mapped("gids", accounts.gidMap),
  ];
}

const linesOf = (text: string): string[] =>
  text.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));

const fieldsOf = (text: string): string[][] => linesOf(text).map((line) => line.split(":"));

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
