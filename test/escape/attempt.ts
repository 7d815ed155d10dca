/** What an attempt is: one thing that a tenant tries, what must stop it, and the control that shows that it could succeed. */
import type { Guard } from "../../src/executor/sandbox/driver.ts";

/** What is attacked: a guard, or what only the seal of a room keeps, which is more than a guard. */
export type Promised = Guard | "kernel";

export interface Attempt {
  name: string;
  kind: "TypeScript" | "native";
  attacks: Promised;
  /** The outcomes of which one is expected in the room: an error's code, or `nothing`. */
  held: readonly string[];
  /** Those in the control, which is the same without a sandbox: by default it reaches what it wants. */
  control: readonly string[];
  /** Only root succeeds in the control. */
  asRoot?: true;
  /** Why a room does not hold it yet: then it is expected to succeed, so that this line goes when it does not. */
  notYet?: string;
  /** Why it harms nothing in a container, where it succeeds. */
  containersOwn?: string;
}

type More = Partial<Pick<Attempt, "control" | "asRoot" | "notYet" | "containersOwn">>;

/** A row of a table. */
export const row =
  (kind: Attempt["kind"], attacks: Promised) =>
  (name: string, held: readonly string[], more: More = {}): Attempt => ({
    ...{ name, kind, attacks, held },
    ...{ control: ["reached"], ...more },
  });

export const ROOT = { asRoot: true } as const satisfies More;
