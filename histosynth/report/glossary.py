"""What every metric means, in one sentence, and where it misleads: the words of the report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a metric is named, read and warned about."""

    name: str
    label: str
    higher_is_better: bool
    meaning: str
    caveat: str


_METRICS = (
    Metric(
        "frechet_distance",
        "Fréchet distance",
        False,
        "How far the synthetic images lie from real test images as two clouds of features, "
        "each summed up by its mean and covariance.",
        "Its size depends on the encoder and on the number of images, so read it only within one "
        "column and beside the real row; it cannot tell poor images from a lack of variety.",
    ),
    Metric(
        "kernel_distance",
        "Kernel distance",
        False,
        "How far the two clouds of features lie apart by a polynomial kernel (squared MMD); "
        "unbiased, so that zero means no difference found and slightly negative values occur.",
        "Less dependent on the number of images than the Fréchet distance, but noisier in small "
        "samples.",
    ),
    Metric(
        "precision",
        "Precision",
        True,
        "The share of synthetic images that fall among the real ones: do they look real?",
        "One odd real image with far neighbours can accept many poor samples; blind to copies.",
    ),
    Metric(
        "recall",
        "Recall",
        True,
        "The share of real images that fall among the synthetic ones: is the variety there?",
        "Scattered, poor samples can raise it.",
    ),
    Metric(
        "density",
        "Density",
        True,
        "How many real neighbourhoods an average synthetic image falls into, next to what real "
        "images would give; may pass 1.",
        "Rises when samples crowd around common tissue.",
    ),
    Metric(
        "coverage",
        "Coverage",
        True,
        "The share of real images with a synthetic one in their neighbourhood.",
        "Copies of training images raise it as good samples do.",
    ),
    Metric(
        "map_iou",
        "Map IoU",
        True,
        "A segmenter trained on real tissue reads the synthetic image; how well does what it sees "
        "overlap the map that was asked for (mean over classes)?",
        "The judge errs too: its score on real test tiles is the ceiling to compare with.",
    ),
    Metric(
        "map_iou_ratio",
        "Map adherence",
        True,
        "Map IoU of the synthetic images over the same judge's map IoU on real test tiles.",
        "May pass 1 where synthetic tissue is plainer, and so easier to read, than real tissue.",
    ),
    Metric(
        "label_accuracy",
        "Label accuracy",
        True,
        "How often a classifier trained on real tissue sees in the image the label asked for.",
        "Chance is not zero: compare with the shuffled row.",
    ),
    Metric(
        "label_accuracy_ratio",
        "Label adherence",
        True,
        "Label accuracy of the synthetic images over the same judge's accuracy on real test tiles.",
        "May pass 1 where synthetic images exaggerate the label.",
    ),
    Metric(
        "downstream_iou",
        "Downstream IoU",
        True,
        "Mean IoU on real test patients of a segmentation network trained on real, synthetic or "
        "mixed tiles, for the same number of optimizer steps.",
        "Says what the images are worth for this network and budget, not how they look.",
    ),
    Metric(
        "downstream_auc",
        "Downstream AUC",
        True,
        "Area under the ROC curve, on real test patients, of a classifier trained on real, "
        "synthetic or mixed tiles.",
        "Close to 1 everywhere when the task is easy, and then says little.",
    ),
)
METRICS = {metric.name: metric for metric in _METRICS}

TERMS = (
    (
        "Interval",
        "The 95 % confidence interval given by the evaluation, printed small under a value. With "
        "more than one generator seed it is the hull of the seeds' intervals.",
    ),
    (
        "Shared rank",
        "A condition ranks behind another only where their intervals lie wholly apart. Where they "
        "overlap the two share a rank. This is cautious: conditions answer the same requests, so a "
        "paired comparison might tell them apart sooner.",
    ),
    (
        "Real (reference)",
        "Real training tiles of other patients, scored as if they were synthetic: how well real "
        "tissue itself would do. In the downstream columns, the network trained on real tiles.",
    ),
    (
        "Autoencoder (reference)",
        "Real test tiles sent through the autoencoder and back: no model that works in its latent "
        "space can be expected to do much better.",
    ),
    (
        "Shuffled (reference)",
        "The condition's own images against requests dealt out at random: the score of ignoring "
        "the request.",
    ),
    (
        "Protocol",
        "A short hash of what must agree for two numbers to be comparable, such as encoder "
        "weights, image transform, sample size and split. Numbers of different protocols are "
        "marked and never ranked together.",
    ),
    (
        "Not applicable",
        "The condition makes this score impossible: an image made without a map cannot disobey "
        "one.",
    ),
)


def metric(name: str, higher_is_better: bool | None = None) -> Metric:
    """The entry of a metric; an unknown one is named by its own words and left unexplained."""
    if name in METRICS:
        return METRICS[name]
    label = name.replace("_", " ").capitalize()
    return Metric(name, label, bool(higher_is_better), "", "")


_RULES = {
    "unreadable": "the file is damaged there",
    "pen": "ink on the glass (tiling.reject)",
    "border": "black or blank, beyond what was scanned (tiling.reject)",
    "little_tissue": "tiling.min_tissue",
    "one_class": "tiling.heterogeneity",
    "blurred": "the scanner missed the focus there (tiling.reject)",
    "over_cap": "tiling.max_tiles_per_slide",
    "over_patient_cap": "tiling.max_tiles_per_patient",
}


def rule_words(rule: str) -> str:
    """Why a rule takes a tile, with the setting that decides; "" for one without more to say."""
    if rule.startswith("outlier"):
        return "a rule of Osorio et al. (tiling.outliers)"
    return _RULES.get(rule, "")


MPP_SOURCES = {
    "slide": "the slide’s own file",
    "table": "the cohort’s table, as the file does not say",
    "study": "cohort.mpp of the study, as neither file nor table says",
    "": "nobody: unknown",
}
