"""The sections of a study about slides: classes, labels, cohorts, tiles, splits."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from histosynth.settings_base import DataPath, Fraction, Name, Settings


class TissueClass(Settings):
    """One tissue class of the maps; its index in the list is its value in a tile's map."""

    name: Name
    values: list[int] | dict[str, list[int]] = Field(
        default_factory=list,
        description="Pixel values in the annotation masks, for all slides or site by site. The "
        "class with value 0 also takes what no polygon covers.",
    )
    groups: list[str] = Field(
        default_factory=list,
        description="Groups (ASAP) or classifications (QuPath) of polygons; case does not count.",
    )
    color: str = Field("#888888", pattern=r"^#[0-9A-Fa-f]{6}$")

    @model_validator(mode="after")
    def _says_something(self) -> "TissueClass":
        if not self.values and not self.groups:
            raise ValueError("give `values` (of mask pixels), `groups` (of polygons), or both")
        return self

    def values_at(self, site: str) -> list[int]:
        """Mask values of the class on slides of `site`."""
        if isinstance(self.values, dict):
            return self.values.get(site, [])
        return self.values


class PhantomCohort(Settings):
    """Procedural H&E slides with exact masks: the embedded default."""

    kind: Literal["phantom"] = "phantom"
    patients: int = Field(16, ge=3)
    sites: int = Field(2, ge=1)
    slides_per_patient: int = Field(1, ge=1)
    width: int = Field(2048, ge=256, description="Level-0 pixels.")
    height: int = Field(1536, ge=256, description="Level-0 pixels.")
    mpp: float = Field(1.0, gt=0, description="Micrometres a level-0 pixel.")
    difficulty: Fraction = 0.5
    seed: int = 0


class TableCohort(Settings):
    """Slides listed in a CSV, TSV or Parquet table.

    Columns: slide_id, patient_id, image, and optionally annotation, label, site, split, mpp.
    Relative paths start at the table's folder.
    """

    kind: Literal["table"]
    table: DataPath
    mpp: float | None = Field(None, gt=0, description="For slides that carry no mpp themselves.")


class ImageMaskCohort(Settings):
    """Ready-made tiles: images with masks of the same size, listed in a CSV."""

    kind: Literal["image_mask"]
    index: DataPath
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Our column name -> the CSV's: image, mask, patient_id, label, site, split.",
    )
    mask_threshold: int | None = Field(
        None, description="Grey masks: values above it become 1, the others 0."
    )
    mpp: float | None = Field(None, gt=0)


class Camelyon16Cohort(Settings):
    """Camelyon16 as released: slides .tif, tumours as ASAP XML polygons or as mask .tif."""

    kind: Literal["camelyon16"]
    root: DataPath = Field(description="Folder with the released folders in it.")
    annotations: Literal["xml", "mask"] = "xml"
    mpp: float | None = Field(None, gt=0, description="For slides that carry no mpp themselves.")


class PandaCohort(Settings):
    """PANDA as released: train.csv, train_images/<id>.tiff, train_label_masks/<id>_mask.tiff.

    The site is the data provider, whose mask values differ: give `classes.values` by site.
    """

    kind: Literal["panda"]
    root: DataPath = Field(description="Folder with train.csv in it.")
    label_column: Literal["isup_grade", "gleason_score"] = "isup_grade"
    mpp: float | None = Field(None, gt=0, description="For slides that carry no mpp themselves.")


class PcamCohort(Settings):
    """PatchCamelyon: the official HDF5 files, or Kaggle's folder (train/*.tif, train_labels.csv).

    Kaggle's copy tells no slides, so no split of it can keep patients apart; results say so.
    """

    kind: Literal["pcam"]
    root: DataPath = Field(description="Folder with the HDF5 files, or with train_labels.csv.")
    mpp: float = Field(0.972, gt=0, description="Micrometres a pixel of the patches.")


class TcgaCohort(Settings):
    """TCGA slides (.svs) in a folder, or listed in a GDC manifest or sample sheet."""

    kind: Literal["tcga"]
    root: DataPath = Field(description="Folder that holds the .svs files, at any depth.")
    sheet: DataPath | None = Field(
        None,
        description="GDC sample sheet or manifest, below root or anywhere: only its slides, with "
        "their projects.",
    )
    mpp: float | None = Field(None, gt=0, description="For slides that carry no mpp themselves.")

    @property
    def sheet_path(self) -> str | None:
        """Where the sheet lies; a relative path starts at `root`."""
        return str(Path(self.root) / self.sheet) if self.sheet else None


class ClassFoldersCohort(Settings):
    """Ready-made tiles in one folder a class, as NCT-CRC-HE: root/CLASS/*.tif."""

    kind: Literal["class_folders"]
    root: DataPath
    splits: dict[Literal["train", "val", "test"], str] = Field(
        default_factory=dict,
        description="Official splits: split -> folder below root that holds its class folders.",
    )
    patient: str | None = Field(
        None,
        description="Regular expression with one group: the patient in a file's name. Without "
        "it every image counts as a patient of its own, and results say so.",
    )
    mpp: float | None = Field(None, gt=0)


Cohort = Annotated[
    PhantomCohort
    | TableCohort
    | ImageMaskCohort
    | Camelyon16Cohort
    | PandaCohort
    | PcamCohort
    | TcgaCohort
    | ClassFoldersCohort,
    Field(discriminator="kind"),
]


class Label(Settings):
    """Where a tile's label comes from: the cohort's `label` column, or its class fractions."""

    source: Literal["column", "class_fraction"] = "column"
    names: list[str] = Field(min_length=2, description="All labels, in the order of their index.")
    classes: list[str] = Field(
        default_factory=list,
        description="class_fraction: tiles with at least `threshold` of these get the last label.",
    )
    threshold: Fraction = 0.1


class Tiling(Settings):
    size: int = Field(64, ge=16, description="Tile side in pixels.")
    mpp: float | None = Field(2.0, gt=0, description="Requested micrometres a pixel.")
    stride: int | None = Field(None, ge=1, description="In tile pixels; default: the tile size.")
    min_tissue: Fraction = Field(0.5, description="Smallest share of tissue in a tile kept.")
    heterogeneity: tuple[Fraction, Fraction] | None = Field(
        (0.2, 0.8),
        description="Keep a tile only where at least two classes each cover a share within this.",
    )
    reject: list[Literal["pen", "border", "blurred"]] = Field(
        ["pen", "border", "blurred"],
        description="Faults of slides that a tile may not show.",
    )
    outliers: Literal["osorio"] | None = Field(
        None, description="Osorio's rules for empty, grey or blurred patches (arXiv 2312.09792)."
    )
    max_tiles_per_slide: int | None = Field(None, ge=1)
    max_tiles_per_patient: int | None = Field(None, ge=1)
    order: Literal["random", "entropy"] = Field(
        "random",
        description="Which tiles fill a cap: a seeded draw, or those of highest class entropy "
        "first (of tissue types found by colour and texture where there is no annotation).",
    )
    balance: Literal["none", "label", "class"] = Field(
        "none", description="Share a cap evenly among labels, or among tiles' largest classes."
    )
    chunks: int = Field(2, ge=1, description="Slides are tiled in this many jobs.")
    seed: int = 0


class Split(Settings):
    """Patient-level split; what the cohort's `split` column says wins over the fractions."""

    train: float = Field(0.6, gt=0)
    val: float = Field(0.15, gt=0)
    test: float = Field(0.25, gt=0)
    stratify: list[Literal["site", "label"]] = Field(
        ["site", "label"],
        description="Every split gets its share of each of these.",
    )
    group: Literal["patient", "site"] = Field(
        "patient", description="What is never divided; site: test on hospitals never seen."
    )
    folds: int | None = Field(
        None, ge=3, description="k-fold instead of fractions: one fold tests, the next validates."
    )
    fold: int = Field(0, ge=0, description="Which of the folds is the test split.")
    seed: int = 0

    @model_validator(mode="after")
    def _fold_exists(self) -> "Split":
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold {self.fold}: expected 0 to {(self.folds or 1) - 1} (folds - 1)")
        return self
