/** Options that several commands have. */
import { Type } from "@sinclair/typebox";
import { UsageError } from "../../base/errors.ts";
import { text, truth } from "../../options/fields.ts";

export const jsonField = (description = "one JSON object") => ({
  json: Type.Optional(truth({ description })),
});

/** A manager's state directory. */
export const stateField = (description: string) => ({
  state: Type.Optional(
    text("a folder", {
      description,
      otherwise: "$XDG_STATE_HOME/rfaas or ~/.local/state/rfaas",
      placeholder: "dir",
    }),
  ),
});

/** A path, of a file or a folder. */
export const pathField = (
  placeholder: "file" | "folder",
  about: { description: string; otherwise?: string; short?: string },
) => Type.Optional(text(`a ${placeholder}`, { placeholder, ...about }));

/** Throws {@link UsageError} when more than one of these options is given. */
export function requireOneOf<Options extends object>(
  options: Options,
  ...names: (keyof Options & string)[]
): void {
  const given = names.filter((name) => options[name] !== undefined);
  if (given.length > 1)
    throw new UsageError(
      `${given.map((name) => `--${name}`).join(" and ")} exclude each other; name one of them`,
    );
}
