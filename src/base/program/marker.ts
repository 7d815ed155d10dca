/**
 * The mark of a process that rfaas starts for itself: `RFAAS_CHILD=ROLE@VERSION` in its environment. A program that is started with
 * it and is not rfaas has been taken for rfaas, and must start nothing: each copy would start another one.
 */

/** Commands that only rfaas itself gives. */
export const ROLES = ["__node", "__host", "__bundle", "__shim"] as const;
export type Role = (typeof ROLES)[number];

export interface Mark {
  role: string;
  /** Of the library or executable that has started the process. */
  version: string;
}

type Environment = Record<string, string | undefined>;

/** What the environment says that this process was started as. */
export function markOf(env: Environment): Mark | undefined {
  const text = env["RFAAS_CHILD"];
  if (!text) return undefined;
  const [role = "", version = ""] = text.split("@", 2);
  return { role, version };
}

export function withMark(env: Environment, { role, version }: Mark): Environment {
  return { ...env, RFAAS_CHILD: `${role}@${version}` };
}

export function withoutMark({ RFAAS_CHILD: _mark, ...env }: Environment): Environment {
  return env;
}

/** Takes the mark off this process, for it is what the mark says: its threads and children must not inherit it. */
export function takeMark(): Mark | undefined {
  const mark = markOf(process.env);
  delete process.env["RFAAS_CHILD"];
  return mark;
}
