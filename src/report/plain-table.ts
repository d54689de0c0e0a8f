import Table from 'cli-table3';

const NO_LINES = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/** A table without lines or colours of its own, for people and for `awk`. */
export function plainTable(head: readonly string[]): Table.Table {
  return new Table({ head: [...head], chars: NO_LINES, style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 } });
}
