/** Tells a person what takes time. Goes to stderr: stdout belongs to the answer. */
export type Progress = (text: string) => void;

export const toStderr: Progress = (text) => {
  process.stderr.write(`${text}\n`);
};

export const silent: Progress = () => undefined;
